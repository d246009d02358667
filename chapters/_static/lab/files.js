// Reads the lab's data: bytes that a script carries as base64, with a checksum.
"use strict";

badnets.define("files", [], () => {
  /** @typedef {{crc: number, base64: string}} Packed what tools/lab.py writes */

  const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
    for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
    return byte;
  });

  /**
   * CRC-32, as zlib computes it.
   * @param {Uint8Array} bytes
   */
  function checksum(bytes) {
    let crc = 0xffffffff;
    // By index: the page waits for this, and for-of takes eight times as long before the browser has compiled it.
    for (let at = 0; at < bytes.length; at++) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[at]) & 255];
    return (crc ^ 0xffffffff) >>> 0;
  }

  /**
   * The bytes, if they are the ones that were written.
   * @param {Packed} packed
   * @param {string} name what they are, for the message
   */
  function unpacked(packed, name) {
    let bytes;
    try {
      const letters = atob(packed.base64);
      bytes = new Uint8Array(letters.length);
      for (let at = 0; at < bytes.length; at++) bytes[at] = letters.charCodeAt(at);
    } catch {
      bytes = null; // no base64
    }
    if (!bytes || checksum(bytes) !== packed.crc) {
      throw new Error(`${name} are damaged: load the page again, or fetch them anew`);
    }
    return bytes;
  }

  /**
   * Numbers in half precision.
   * @param {Uint8Array} bytes
   */
  function halves(bytes) {
    const words = new Uint16Array(bytes.buffer);
    const numbers = new Float32Array(words.length);
    for (let at = 0; at < numbers.length; at++) {
      const half = words[at];
      const exponent = (half >> 10) & 31;
      const fraction = (half & 1023) / 1024;
      const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
      numbers[at] = half >> 15 ? -size : size;
    }
    return numbers;
  }

  /**
   * Images in [0, 1] from compressed bytes of two 4-bit pixels each.
   * @param {Packed} packed
   * @param {string} name
   * @returns {Promise<Float32Array>}
   */
  async function images(packed, name) {
    const stream = new Blob([unpacked(packed, name)]).stream().pipeThrough(new DecompressionStream("gzip"));
    const pairs = new Uint8Array(await new Response(stream).arrayBuffer());
    const pixels = new Float32Array(2 * pairs.length);
    for (let at = 0; at < pairs.length; at++) {
      pixels[2 * at] = (pairs[at] >> 4) / 15;
      pixels[2 * at + 1] = (pairs[at] & 15) / 15;
    }
    return pixels;
  }

  return { checksum, unpacked, halves, images };
});
