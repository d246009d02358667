"""Data: labelled images in memory, the book's data sets, and the signs and reviews that it draws itself."""

from .images import ImageSet as ImageSet
from .loading import DataUnavailable as DataUnavailable, load as load
