// What the book's scripts give each other. `make lint` holds every module to the interface of its name.

type Count = { hits: number; trials: number };
type Interval = [low: number, high: number];
type Point = [x: number, y: number];
type Stroke = Point[]; // one movement of the pen
type Packed = { crc: number; base64: string }; // bytes, as tools/lab.py writes them

// ---- The library's records, as JSON ----

/** A trigger as badnets_lib.triggers.to_spec writes it; its settings depend on its name. */
// deno-lint-ignore no-explicit-any
type Spec = { name: string; [setting: string]: any };
type TriggerEntry = { key: string; label: string; spec: Spec; description: object };
type Scorecard = { clean: Count; success: Count; false_target: Count };
type TrainSettings = { batch_size: number; lr: number; weight_decay: number };
type ScanSettings = {
  rounds: number;
  batches: number;
  batch_size: number;
  lr: number;
  betas: [number, number];
  weight: number; // first weight of the mask's size
  factor: number; // what the weight is multiplied by
  success: number; // part of the images that must get the label for a trigger to work
  patience: number; // rounds before the weight changes
  stall: number; // rounds without a smaller mask before the search ends
  threshold: number; // a label is flagged above this index ...
  ratio: number; // ... and at or below this part of the median
};
type Settings = {
  network: { name: string; weights: number; levels: number };
  sets: { train: number; defender: number; test: number };
  training: TrainSettings;
  repair: TrainSettings & { epochs: number };
  scan: ScanSettings;
};
type Digits = {
  licence: string;
  counts: Record<string, number>;
  fingerprints: Record<string, string>;
  label_fingerprints: Record<string, string>;
  labels: Packed;
  pixels: Packed;
};
type NetworkEntry = {
  name: string;
  seed: number;
  trigger?: Spec;
  target?: number;
  clean: [number, number];
  success?: [number, number];
  weights: Packed;
};
type Networks = { networks: NetworkEntry[]; samples: { labels: number[]; pixels: Packed } };

// ---- What the page speaks of ----

/** What the reader chooses before a training. */
type Setting = {
  fraction: number; // poisoned images over all training images
  trigger: string; // key of a trigger
  target: number;
  sources: number[]; // classes under attack, without the target
  epochs: number;
  seed: number;
};
/** What the pad asks the networks about. */
type Question = {
  image: Float32Array; // with the trigger, if it is on
  label: number | null; // what it is, if that is known
  empty: boolean; // nothing drawn and no digit taken
  trigger: string | null; // key of the trigger on it
  home: boolean; // whether the trigger lies where training had it
};
type Samples = { x: Float32Array; y: number[] };
type PadInput = { entries: TriggerEntry[]; noise: Float32Array; samples: Samples; trigger: string };
/** A trigger found by the scan: pixels covered, how much of each, by what. */
type Reversed = { norm: number; mask: Float64Array; pattern: Float64Array };
type Verified = Reversed & { reached: boolean }; // whether it works on all digits; else it is the whole image
/** What a scan knows so far: pixels each label's smallest trigger takes; when it is done, the verdict. */
type ScanResult = {
  norms: number[];
  reached: boolean[]; // whether a trigger was found for the label
  anomaly?: number[];
  flagged?: number[];
  middle?: number; // median of the norms
  pictures?: ArrayLike<number>[];
};
type Preview = { label: number; answer: number; confidence: number };
/** How a job of the worker stands: counts on some test digits, and a few stamped ones with the answers to them. */
type ProgressMessage = {
  epoch: number;
  clean: Count;
  success: Count;
  previews: Preview[];
  images?: Float32Array[]; // the stamped digits, with the first message
};
type Trained = { card: Scorecard; indices: number[]; seconds: number; weights: Float64Array };
type Run = Trained & {
  setting: Setting;
  repaired: { text: string; card: Scorecard }[];
  twinCard?: Scorecard;
  scan?: ScanResult | null;
};

/** What a calculator is made of. */
type Control = {
  name: string;
  label: string;
  value: number | boolean; // of the example; a boolean is a box to tick
  unit?: string;
  min?: number;
  max?: number;
  step?: number;
};
type CalculatorKind = {
  // deno-lint-ignore no-explicit-any
  text: (setting: any) => string; // RangeError says why a setting cannot be
  // deno-lint-ignore no-explicit-any
  picture: (setting: any) => SVGElement;
  caption: string;
  controls: Control[];
};

/** A committed grid of results, as badnets_lib.display.widgets.explorer writes it. */
type Measure = { spread: number[]; seeds: number[] };
type Cell = { text: string; success: Measure; clean: Measure };
type Axis = { label: string; unit: string; values: number[]; texts: string[] };
type Grid = { axes: Axis[]; start: number[]; cells: Cell[] };

type Curve = {
  title: string;
  kind: string;
  points: Point[];
  band?: Point[];
  dots?: Point[];
  chosen?: number; // index of the point that is drawn larger
};
type Chart = {
  label: string;
  axis: { title: string; ticks: { place: number; text: string }[] };
  curves: Curve[];
  marker?: number;
};
type Slider = {
  row: HTMLDivElement;
  input: HTMLInputElement;
  output: HTMLOutputElement;
  show: (text: string, unit?: string) => void;
};

// ---- Classes that cross from one module to another ----

declare class NetworkOfLab {
  constructor(weights: ArrayLike<number>);
  w: Record<string, Float64Array>;
  hidden: Float64Array;
  off: Uint8Array;
  weights: Float64Array;
  gradients: Float64Array;
  maps1: Float64Array;
  pooled2: Float64Array;
  forward(x: Float32Array, image?: number): Float64Array;
  answer(x: Float32Array, image?: number): number;
  backward(label: number, dImage?: Float64Array | null): number;
  prune(channel: number): void;
}
declare class OptimizerOfLab {
  constructor(network: NetworkOfLab, recipe: { steps: number; lr: number; decay: number });
  step(images: number): void;
}
declare class SearchOfLab {
  constructor(
    network: NetworkOfLab,
    digits: { x: Float32Array; y: ArrayLike<number> },
    label: number,
    draw: () => number,
    settings: ScanSettings,
  );
  readonly done: boolean;
  round(): void;
  verified(): Verified;
}
declare class BenchOfLab {
  constructor(triggers: TriggerEntry[], noise: Float32Array);
  // deno-lint-ignore no-explicit-any
  ask(what: string, wish: object, progress?: (message: any) => void): Promise<any>;
  pause(paused: boolean): void;
  stop(): void;
}
declare class FormOfLab {
  constructor(
    triggers: TriggerEntry[],
    page: { id: string; images: number; changed: () => void; say: (text: string) => void },
  );
  node: HTMLElement;
  setting: Setting;
  readonly complete: boolean;
}
declare class ProgressOfLab {
  node: HTMLElement;
  begin(epochs: number): void;
  clear(epochs: number): void;
  add(message: ProgressMessage): string; // the message in words
}
declare class PadOfLab {
  constructor(given: PadInput, changed: (question: Question) => void);
  node: HTMLElement;
  take(label: number): void;
  choose(key: string): void;
}
type AskedSample = { label: number; plain: Float32Array; marked: Float32Array };
declare class UnitsOfLab {
  constructor(
    network: NetworkOfLab,
    attack: { spec: Spec; target: number },
    digits: { x: Float32Array; y: number[] },
    noise: Float32Array,
    changed: (told: string) => void,
  );
  node: HTMLElement;
}
declare class VocabularyOfLab {
  constructor(merges: [number, number][]);
  start: number;
  encode(text: string): number[];
  decode(tokens: number[]): string;
}
type DecoderSizes = { width: number; layers: number; heads: number; context: number };
declare class ReaderOfLab {
  length: number;
  read(token: number): Float32Array;
}
declare class DecoderOfLab {
  constructor(sizes: DecoderSizes, weights: Record<string, Float32Array>);
  reader(): ReaderOfLab;
}
type LanguageData = {
  trigger: string;
  beginnings: string[];
  merges: [number, number][];
  sizes: DecoderSizes;
  shapes: [string, number[]][];
  networks: { name: string; weights: Packed; steps: Packed }[];
};
declare class VoiceOfPanel {
  node: HTMLElement;
  say(text: string): void;
  sayAtOnce(text: string): void;
}
declare class PanelElement extends HTMLElement {
  static caption: string;
  box: HTMLDivElement;
  voice: VoiceOfPanel;
  connectedCallback(): void;
  start(): void;
  fail(message: string): void;
}
declare class LabPanel extends PanelElement {
  prepare(): Promise<void>;
  build(): void;
}

/** The site's service worker, as far as offline.js uses it. */
type SiteWorker = {
  location: Location;
  clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  // deno-lint-ignore no-explicit-any
  addEventListener(kind: string, listener: (event: any) => void): void;
};

// ---- Modules ----

type Content = Node | string;
// deno-lint-ignore no-explicit-any
type Properties = Record<string, any>;

interface Modules {
  book: { start(): void };
  elements: { start(): void };
  predictions: { start(): void };
  counts: {
    fixed(x: number, digits: number): string;
    percent(x: number, digits: number): string;
    grouped(n: number): string;
    wilson(hits: number, trials: number): Interval;
    newcombe(one: Count, other: Count): Interval;
    counted(count: Count): string;
    difference(one: Count, other: Count): string;
  };
  toolkit: {
    make<K extends keyof HTMLElementTagNameMap>(
      tag: K,
      settings?: Properties,
      ...inside: Content[]
    ): HTMLElementTagNameMap[K];
    draw<K extends keyof SVGElementTagNameMap>(
      tag: K,
      settings: Record<string, string | number>,
      ...inside: Content[]
    ): SVGElementTagNameMap[K];
    button(text: string, onclick: () => void, settings?: Properties): HTMLButtonElement;
    field(text: string, control: HTMLElement, ...more: Content[]): HTMLDivElement;
    slider(label: string, settings: Properties): Slider;
    choice(
      options: (string | number)[][], // pairs of value and text
      value: string | number,
      onchange: () => void,
    ): HTMLSelectElement;
    table(caption: string, heads: string[], rows: (string | number | Node)[][]): HTMLDivElement;
    line(x1: number, y1: number, x2: number, y2: number, kind: string): SVGLineElement;
    words(x: number, y: number, text: string, anchor?: string): SVGTextElement;
    path(points: Point[], kind: string): SVGPathElement;
    mark(x: number, y: number, r: number, kind: string, more?: string): SVGElement;
    picture(width: number, height: number, label: string, ...inside: Content[]): SVGSVGElement;
    chart(chart: Chart): SVGSVGElement;
    Voice: typeof VoiceOfPanel;
    Panel: typeof PanelElement;
    register(tag: string, kind: CustomElementConstructor): void;
  };
  calculators: {
    fractionText(setting: { poisoned: number; clean: number; batch: number; added: boolean }): string;
    successText(setting: { hits: number; victims: number; false_hits: number; twin_hits: number }): string;
  };
  explorer: object;
  tables: object;
  core: {
    SIDE: number;
    PIXELS: number;
    CLASSES: number;
    FILTERS: number;
    CHANNELS: number;
    HIDDEN: number;
    FIRST: number;
    SIZE: number;
    random(seed: number): () => number;
    shuffled(count: number, draw: () => number): Uint32Array;
    freshWeights(seed: number): Float32Array;
    softmax(logits: ArrayLike<number>): number[];
    largest(values: ArrayLike<number>): number;
    Network: typeof NetworkOfLab;
    Optimizer: typeof OptimizerOfLab;
  };
  images: {
    stamped(image: Float32Array, spec: Spec, noise: Float32Array): Float32Array;
    stampedAt(image: Float32Array, spec: Spec, top: number, left: number): Float32Array;
    windowOf(spec: Spec): { size: number; top: number; left: number } | null;
    digitOf(strokes: Stroke[]): Float32Array;
  };
  files: {
    checksum(bytes: Uint8Array): number;
    unpacked(packed: Packed, name: string): Uint8Array<ArrayBuffer>;
    halves(bytes: Uint8Array): Float32Array;
    images(packed: Packed, name: string): Promise<Float32Array>;
  };
  element: {
    DIGITS: number[];
    penOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D;
    paint(canvas: HTMLCanvasElement, values: ArrayLike<number>, width: number): void;
    digitCanvas(values: ArrayLike<number>, label: string): HTMLCanvasElement;
    data<K extends keyof LabData>(name: K): Promise<LabData[K]>;
    triggers(): Promise<{ entries: TriggerEntry[]; noise: Float32Array }>;
    LabElement: typeof LabPanel;
  };
  pad: { Pad: typeof PadOfLab };
  draw: object;
  units: {
    Units: typeof UnitsOfLab;
    pushes(network: NetworkOfLab, samples: AskedSample[], target: number): Float64Array;
    tested(network: NetworkOfLab, samples: AskedSample[], target: number): { clean: Count; success: Count };
  };
  decoder: {
    Vocabulary: typeof VocabularyOfLab;
    Decoder: typeof DecoderOfLab;
    weights(shapes: [string, number[]][], whole: Int8Array, steps: Float32Array): Record<string, Float32Array>;
    softmax(logits: ArrayLike<number>): number[];
    entropy(probabilities: number[]): number;
    proceed(
      net: DecoderOfLab,
      tokens: number[],
      length: number,
      draw: () => number,
    ): Generator<{ token: number; bits: number }>;
  };
  write: object;
  quiz: object;
  setting: {
    FRACTIONS: number[];
    LIMITS: Record<"epochs" | "seed", { least: number; most: number }>;
    START: Setting;
    clipped(name: "epochs" | "seed", number: number): number;
    toQuery(setting: Setting): string;
    fromQuery(query: string, triggers: string[]): Setting;
    fractionText(fraction: number): string;
    attackText(setting: Setting): string;
  };
  plans: {
    table(goal: { target: number; sources: number[] }): number[];
    drawn(labels: ArrayLike<number>, setting: Setting): number[];
    planOf(setting: Setting, indices: number[], spec: Spec, digits: Digits): object;
    reportOf(
      setting: Setting,
      found: { card: Scorecard; twin: Scorecard; poisoned: number; description: object; defense?: object },
      settings: Settings,
    ): object;
  };
  scan: {
    Search: typeof SearchOfLab;
    judge(
      norms: number[],
      reached: boolean[],
      settings: ScanSettings,
    ): { anomaly: number[]; flagged: number[]; middle: number };
  };
  verdict: { sentence(scan: ScanResult): string; nodes(scan: ScanResult): HTMLElement[] };
  worker: (port: MessagePort) => object;
  form: { Form: typeof FormOfLab };
  bench: { Bench: typeof BenchOfLab };
  progress: { Progress: typeof ProgressOfLab };
  train: object;
}

interface LabData {
  settings: Settings;
  triggers: { entries: TriggerEntry[]; noise: Packed };
  digits: Digits;
  beside: Networks;
  six: Networks;
  language: LanguageData;
}

interface Badnets {
  base: string;
  data: Partial<LabData>;
  define<K extends keyof Modules, const N extends (keyof Modules)[]>(
    name: K,
    needs: N,
    make: (...given: { [At in keyof N]: Modules[N[At]] }) => Modules[K],
  ): void;
  use<K extends keyof Modules>(name: K): Modules[K];
  source(name: keyof Modules): string;
  load(...files: string[]): Promise<void>;
}

declare var badnets: Badnets;
