"""Data: labelled images in memory, the book's data sets, and the signs and reviews that it draws itself."""

from .downloads import DataUnavailable as DataUnavailable
from .images import ImageSet as ImageSet
from .loading import load as load
