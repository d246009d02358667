"""Networks: the book's own, the one training loop, and what a buyer does to a network before using it."""

from .inference import Normalized as Normalized, predict as predict
from .layers import (
    channel_means as channel_means,
    fully_connected as fully_connected,
    head as head,
    last_convolution as last_convolution,
    last_hidden as last_hidden,
    listen as listen,
)
from .networks import PaperCNN as PaperCNN, SmallCNN as SmallCNN, first_layer as first_layer
from .training import (
    Epoch as Epoch,
    TrainConfig as TrainConfig,
    Trained as Trained,
    describe_device as describe_device,
    train as train,
)
