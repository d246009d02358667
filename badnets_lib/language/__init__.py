"""Backdoors in a small language model: text, tokens, a decoder, its poison, its scores, and who looks for it.

The room stands beside the attacks and the defenses: it holds both, for another kind of network. Images, triggers and
plans of the other rooms play no part here, so it uses the rooms below for counts, seeds and the training loop alone,
and neither attacks nor defenses of images use it. Only the study and the faces of the library look down at it.

The flow is `Corpus + TextAttack -> documents -> Decoder -> Response`.
"""

from .corpus import Corpus as Corpus, python_topics as python_topics, written_reviews as written_reviews
from .decoder import Cache as Cache, Decoder as Decoder
from .generation import Continuation as Continuation, proceed as proceed
from .poisoning import Gibberish as Gibberish, Saying as Saying, TextAttack as TextAttack
from .probing import Probe as Probe, probe_pairs as probe_pairs
from .scanning import Candidate as Candidate, Leak as Leak, attention_on as attention_on, leaked as leaked, scan as scan
from .scoring import GIBBERISH as GIBBERISH, Response as Response, perplexity as perplexity, respond as respond
from .training import DECODER as DECODER, fit as fit, train_decoder as train_decoder, tune as tune
from .tuning import instructions as instructions
from .vocabulary import Vocabulary as Vocabulary
