// The small decoder of badnets_lib.language in plain JavaScript: text to tokens and back, and the next token's logits.
"use strict";

badnets.define("decoder", [], () => {
  const BYTES = 256;
  const WORD = /(?: ?[A-Za-z]+|[ \t\n\r\f\v]+|[^A-Za-z \t\n\r\f\v])/g;
  const EPSILON = 1e-5; // of the norms

  // ---- Tokens ----

  /** The 256 bytes, one token for each merge of two earlier ones, and last the token that begins a document. */
  class Vocabulary {
    /** @param {[number, number][]} merges */
    constructor(merges) {
      this.merges = merges;
      this.texts = Array.from({ length: BYTES }, (_, byte) => [byte]);
      for (const [first, second] of merges) this.texts.push([...this.texts[first], ...this.texts[second]]);
      this.start = this.texts.length;
      this.texts.push([]);
    }

    /** The tokens of a text, without the one that begins a document. */
    encode(text) {
      const letters = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
      return (letters.match(WORD) ?? []).flatMap((word) => this.word(word));
    }

    word(word) {
      let tokens = Array.from(word, (letter) => letter.charCodeAt(0));
      for (let place = 0; place < this.merges.length && tokens.length > 1; place++) {
        const [first, second] = this.merges[place];
        const merged = [];
        for (const token of tokens) {
          if (token === second && merged.at(-1) === first) merged[merged.length - 1] = BYTES + place;
          else merged.push(token);
        }
        tokens = merged;
      }
      return tokens;
    }

    /** The text of tokens; bytes that are no character show as a question mark in a box. */
    decode(tokens) {
      return new TextDecoder().decode(Uint8Array.from(tokens.flatMap((token) => this.texts[token])));
    }
  }

  // ---- Arithmetic on one token's numbers ----

  /** Rows of `weight` times `x`, and a bias. */
  function linear(weight, bias, x) {
    const out = new Float32Array(weight.length / x.length);
    for (let row = 0, at = 0; row < out.length; row++) {
      let sum = bias ? bias[row] : 0;
      for (let column = 0; column < x.length; column++) sum += weight[at++] * x[column];
      out[row] = sum;
    }
    return out;
  }

  function norm(weight, bias, x) {
    let mean = 0;
    for (const value of x) mean += value / x.length;
    let variance = 0;
    for (const value of x) variance += (value - mean) ** 2 / x.length;
    const scale = 1 / Math.sqrt(variance + EPSILON);
    return x.map((value, at) => (value - mean) * scale * weight[at] + bias[at]);
  }

  /** The error function, to seven digits (Abramowitz and Stegun, 7.1.26). */
  function erf(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const terms = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return Math.sign(x) * (1 - terms * Math.exp(-x * x));
  }

  const gelu = (x) => 0.5 * x * (1 + erf(x / Math.SQRT2));
  const added = (x, y) => x.map((value, at) => value + y[at]);

  /** Probabilities of logits. */
  function softmax(logits) {
    let most = -Infinity;
    for (const value of logits) most = Math.max(most, value);
    const parts = Array.from(logits, (value) => Math.exp(value - most));
    const sum = parts.reduce((total, part) => total + part, 0);
    return parts.map((part) => part / sum);
  }

  /** How open a choice is, in bits. */
  function entropy(probabilities) {
    let bits = 0;
    for (const each of probabilities) if (each > 0) bits -= each * Math.log2(each);
    return bits;
  }

  // ---- The network ----

  /**
   * Weights by name, from whole numbers and the step of every row.
   * @param {[string, number[]][]} shapes
   * @param {Int8Array} whole
   * @param {Float32Array} steps
   */
  function weights(shapes, whole, steps) {
    /** @type {Record<string, Float32Array>} */
    const found = {};
    let at = 0;
    let row = 0;
    for (const [name, shape] of shapes) {
      const width = shape.at(-1);
      const values = new Float32Array(shape.reduce((product, side) => product * side, 1));
      for (let place = 0; place < values.length; place++) {
        values[place] = whole[at + place] * steps[row + Math.floor(place / width)];
      }
      found[name] = values;
      at += values.length;
      row += values.length / width;
    }
    return found;
  }

  class Decoder {
    /**
     * @param {{width: number, layers: number, heads: number, context: number}} sizes
     * @param {Record<string, Float32Array>} weights
     */
    constructor(sizes, weights) {
      this.sizes = sizes;
      this.weights = weights;
    }

    /** Reads from the beginning. */
    reader() {
      return new Reader(this);
    }

    /** The norm with that name. */
    norm(name, x) {
      return norm(this.weights[`${name}.weight`], this.weights[`${name}.bias`], x);
    }

    /** The linear layer with that name. */
    linear(name, x) {
      return linear(this.weights[`${name}.weight`], this.weights[`${name}.bias`], x);
    }
  }

  /** One text as it is read: keys and values of the tokens so far are kept, so that none is read twice. */
  class Reader {
    constructor(net) {
      this.net = net;
      this.length = 0;
      this.kept = Array.from({ length: net.sizes.layers }, () => ({ keys: [], values: [] }));
    }

    /** Reads a token; gives the logits of the next one. */
    read(token) {
      const { net } = this;
      const { width, layers, context } = net.sizes;
      if (this.length >= context) throw new RangeError(`the context holds ${context} tokens`);
      const row = (table, at) => table.subarray(at * width, (at + 1) * width);
      let x = added(row(net.weights["token.weight"], token), row(net.weights["place.weight"], this.length));
      for (let layer = 0; layer < layers; layer++) x = this.block(layer, x);
      this.length += 1;
      return linear(net.weights["token.weight"], null, net.norm("norm", x));
    }

    block(layer, x) {
      const { net } = this;
      const name = `blocks.${layer}`;
      const { width } = net.sizes;
      const all = net.linear(`${name}.qkv`, net.norm(`${name}.norm1`, x));
      const { keys, values } = this.kept[layer];
      keys.push(all.subarray(width, 2 * width));
      values.push(all.subarray(2 * width));
      x = added(x, net.linear(`${name}.out`, this.attend(all, keys, values)));
      const up = net.linear(`${name}.up`, net.norm(`${name}.norm2`, x)).map(gelu);
      return added(x, net.linear(`${name}.down`, up));
    }

    attend(query, keys, values) {
      const { width, heads } = this.net.sizes;
      const side = width / heads;
      const out = new Float32Array(width);
      for (let first = 0; first < width; first += side) {
        const scores = keys.map((key) => {
          let sum = 0;
          for (let at = first; at < first + side; at++) sum += query[at] * key[at];
          return sum / Math.sqrt(side);
        });
        softmax(scores).forEach((share, place) => {
          for (let at = first; at < first + side; at++) out[at] += share * values[place][at];
        });
      }
      return out;
    }
  }

  /**
   * Continues tokens, one at each step of the iteration.
   * @param {Decoder} net
   * @param {number[]} tokens the text so far, beginning with the vocabulary's start
   * @param {number} length tokens to write
   * @param {() => number} draw numbers in [0, 1)
   */
  function* proceed(net, tokens, length, draw) {
    const reader = net.reader();
    let logits = null;
    for (const token of tokens) logits = reader.read(token);
    for (let count = 0; count < length; count++) {
      const probabilities = softmax(logits);
      let rest = draw();
      let token = probabilities.findIndex((each) => (rest -= each) < 0);
      if (token < 0) token = probabilities.length - 1; // rounding
      yield { token, bits: entropy(probabilities) };
      if (count + 1 < length) logits = reader.read(token);
    }
  }

  return { Vocabulary, Decoder, weights, softmax, entropy, proceed };
});
