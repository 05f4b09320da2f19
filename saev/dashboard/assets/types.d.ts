// Written by tests/typescript.py (make format) from saev/dashboard/structures.py.

/** A column of `latents.parquet`. */
interface Column {
  /** Its name. If it is `of_label`, there is a ``name.label`` for each label. */
  name: string;
  /** Its title in the menu for sorting. */
  title: string;
  format: "chance" | "count" | "lift" | "number" | "percent" | "share" | "text";
  /** What the figure means, for a tooltip. Empty if the title says it. */
  meaning: string;
  /** Whether there is one for each label. */
  of_label: boolean;
  /** Whether sorting by it starts with the smallest value. */
  rising: boolean;
}

/** A bound on a column, which the reader sets. Neighbours with the same title share a field. */
interface Filter {
  /** Its name in the page's address. */
  key: string;
  column: string;
  bound: "least" | "most";
  title: string;
  /** What it compares, for a tooltip. */
  meaning: string;
  /** What a screen reader calls it. */
  spoken: string;
  /** The bound as long as the reader sets none. */
  usual: number;
  /** The figure of the whole analysis that is 100 %. null if the bound has the column's unit. */
  percent_of: "n_vectors" | null;
  /** By how much an arrow key changes it. null if any number is allowed. */
  step: number | null;
  highest: number | null;
}

/** A number and its interval. */
interface Estimate {
  /** null where it isn't defined. */
  value: number | null;
  /** Ends of the 95 % interval; null where there is none. */
  interval: number[] | null;
}

/** The same figure of something trivial. */
interface Baseline {
  value: number | null;
  interval: number[] | null;
  title: string;
  /** Whether the figure is better; null where that can't be said. */
  beaten: boolean | null;
}

/** A figure of a run's evaluation. */
interface EvaluatedFigure {
  value: number | null;
  interval: number[] | null;
  /** Its metric and name, such as ``stability.mean``. */
  key: string;
  title: string;
  /** For a tooltip; empty if the title says it. */
  meaning: string;
  /** How many it is taken over. */
  n: number;
  /** Of what. */
  over: string;
  /** Whether it is about images that training never saw. */
  held_out: boolean;
  note: string;
  baselines: Baseline[];
}

/** A figure of an evaluation in the table of all runs. */
interface MeasuredInShort {
  value: number | null;
  /** Their values by name. */
  baselines: Record<string, number | null>;
  /** Whether a baseline is as good. */
  unbeaten: boolean;
  /** Why it has no value, if it has none. */
  note: string;
}

/** The classes of a label that an evaluation leaves out, as they have too few images. */
interface LeftOut {
  /** Its name, or ``masks``. */
  label: string;
  /** How many classes. */
  n: number;
  /** The first of them, each with how many images it has. */
  named: string[];
}

/** The evaluation that the page of a run shows. */
interface Evaluated {
  name: string;
  /** Names of other evaluations of this analysis. */
  others: string[];
  figures: EvaluatedFigure[];
  left_out: LeftOut[];
  /** Names of the columns that it adds to the figures of latents. */
  columns: string[];
}

/** What the jobs of a stage took. */
interface JobCost {
  /** Of all its jobs together. */
  minutes: number | null;
  /** Most memory that one of them held. */
  gigabytes: number | null;
  /** Why a figure is missing; empty if none is. */
  why: string;
}

/** What the jobs of a run took. */
interface RunCost {
  training: JobCost;
  analysis: JobCost;
}

/** A button that shows only some latents: those with a figure within bounds. */
interface Chip {
  /** Its name in the page's address. */
  key: string;
  title: string;
  meaning: string;
  column: string;
  least: number;
  /** null if there is no upper bound. */
  most: number | null;
}

/** A figure in one place of the page. */
interface Shown {
  /** Name of its column. The reader chooses the label. */
  column: string;
  /** Its title in this place, which may be narrow. */
  title: string;
  /**
   * Small print on a tile. On a card, a tooltip that replaces the meaning. ``{name}`` stands for
   * the latent's figure of that name or, if there is none, for that of the whole analysis.
   */
  note: string;
}

/** A report of `saev parity`. */
interface Comparison {
  link: string;
  /** What was compared. */
  title: string;
  /** One sentence. It may hold any text: names of files, messages of errors. */
  answer: string;
}

/** Names of the directories that a run was made in. */
interface Lineage {
  images: string;
  vit: string;
  sae: string;
  analysis: string;
  /** The images that the dictionary was trained on. */
  trained_on: string;
}

/** Figures of reconstruction on a set of images; `meta.json` has more. */
interface SplitFigures {
  nmse: number | null;
  pca_nmse: number | null;
  /** The split that the baseline was fitted on. */
  pca_fit_on: string;
  nmse_raw: number | null;
  l0: number | null;
  n_images: number;
  n_vectors: number;
}

/** Purity of the top images by one label, over the latents that fire on enough images. */
interface Purity {
  mean: number | null;
  share_75: number | null;
  shuffled_mean: number | null;
  shuffled_share_75: number | null;
  n_latents: number;
}

/** Figures of the whole analysis. */
interface WholeFigures {
  n_images: number;
  n_vectors: number;
  n_dead: number;
  n_dense: number;
  n_positional: number;
  /** By label. */
  label_purity_top: Record<string, Purity>;
}

/** The summary of an analysis, as in its `meta.json`. */
interface Summary {
  n_latents: number;
  n_skipped: number;
  /** By `train`, `held_out`, `other`; null for a set without images. */
  splits: Record<string, SplitFigures | null>;
  all: WholeFigures;
}

/** On how many held-out images a name is ranked first among five. */
interface NameScore {
  /** Held-out images on which the latent fires and that whoever named it hasn't seen. */
  n: number;
  /** null if there are too few images. */
  hits: number | null;
  /** Ends of the 95 % interval of the share; null if there are too few images. */
  interval: number[] | null;
  /** Fewer images than this give no score. */
  fewest: number;
}

/** A name of a latent that a person or a model gave. */
interface GivenNamed {
  latent: number;
  name: string;
  note: string;
  /** Empty if nobody says who. */
  author: string;
  score?: NameScore;
}

/** A row of images on the page of a latent. */
interface ImageRow {
  name: string;
  title: string;
  meaning: string;
  /** Its first place among the latent's images. */
  first: number;
  /** Its last place, plus one. */
  last: number;
}

/** The data that the page of a run starts with. */
interface About {
  run: Lineage;
  model: string;
  stream: string;
  architecture: string;
  /** The settings that describe it in short, such as its sparsity. */
  telling: Record<string, number | null>;
  /** Reasons to distrust the dictionary. */
  doubts: string[];
  n_latents: number;
  d: number;
  /** Images, or directions, in one script of theirs. */
  block: number;
  /** Latents in one script of their data. */
  data_latents: number;
  /** Largest number of files in one folder. */
  folder: number;
  /** Latents in one script of heat maps. */
  heat_latents: number;
  /** Labels in one script of firing counts. */
  contrast_labels: number;
  top_images: number;
  /** Whether there are large images. */
  large: boolean;
  /** Height and width of the grid of patches; null for a stream without patches. */
  grid: number[] | null;
  bin_edges: (number | null)[];
  labels: string[];
  /** The columns that the page shows. One that is `of_label` exists for each of `labels`. */
  columns: Column[];
  /** Names of columns to sort by, the default first. */
  orders: string[];
  /** The rows of images of a latent. */
  rows: ImageRow[];
  /** Lines and columns of the map of where a latent fires; null for a stream without patches. */
  cells: number[] | null;
  chips: Chip[];
  card: Shown[];
  tiles: Shown[];
  label_table: Shown[];
  filters: Filter[];
  summary: Summary;
  evaluation?: Evaluated;
  credit: string | null;
}

/**
 * A column of numbers, exactly as in `latents.parquet`, so that sorting and filtering equal those
 * of the table.
 */
interface NumberColumn {
  /** ``int8``, ``int16``, ``int32``, ``float32`` or ``float64``: the smallest in which all fit. */
  type: string;
  /**
   * The first byte of each number, then the second of each, and so on (the lowest first), as gzip
   * (RFC 1952), in base64. NaN where there is none.
   */
  values: string;
  /** For each latent the place of its number, if the values are the distinct ones. */
  places?: NumberColumn;
}

/** A column of texts: each distinct text once. */
interface TextColumn {
  texts: string[];
  /** For each latent, its text; −1 where there is none. */
  codes: NumberColumn;
}

/** `data/latents.js`: the columns of `latents.parquet`, each with an entry for each latent. */
interface Columns {
  /** Those of truth values have 0 and 1. ``place`` is where a latent's data lies. */
  numbers: Record<string, NumberColumn>;
  texts: Record<string, TextColumn>;
}

/** Pairs of latents of two runs, by rising cosine. */
interface PackedPairs {
  /** Little-endian int32 in base64. */
  latent: string;
  other: string;
  /** Little-endian float32 in base64. */
  cosine: string;
}

/** A script in `matched`: the latents of two runs, matched by their decoder directions. */
interface RunMatch {
  /** Digests of the code and, for both runs, of the dictionary and the analysis. */
  made_of: unknown[];
  /** How many latents of each run fire. */
  n: number[];
  /** The cosine that partners exceed. */
  chance: number;
  /** Those that are matched. */
  pairs: PackedPairs;
  /** Latents of the first run without a partner, each with the nearest one of the second. */
  alone: PackedPairs;
  /** Those of the second run, each as `other`. */
  alone_there: PackedPairs;
}

/** Two runs that are matched. */
interface MatchedPair {
  /** Link to its page, as in `GalleryRun`. */
  first: string;
  second: string;
  file: string;
}

/** `matched/pairs.js`: which runs were matched by a job. */
interface MatchedRuns {
  pairs: MatchedPair[];
  /** How many more pairs could have been matched. */
  n_left_out: number;
}

/**
 * `projection.js`, if the settings ask for it: places of latents by their decoder directions.
 * Distances mean little, but latents that are near have similar directions.
 */
interface Projection {
  /** Digest of the analysis that says which latents fire. */
  analysis: string;
  /** For each latent, as little-endian float32 in base64; NaN for a dead one. */
  x: string;
  y: string;
}

/**
 * `data/strongest.js`: the strongest images of all latents, 16 of each at most, for views of many
 * latents in any order. All of the first latent come first, then those of the second.
 */
interface Strongest {
  /** −1 where there is none. */
  rows: NumberColumn;
  /** The strongest patch of each; −1 for a stream without patches. */
  patches: NumberColumn;
}

/** `data/names.js`: the images by their names, to find latents. */
interface ImageNames {
  /** Rows of all images on the page, ascending. */
  rows: number[];
  /** Their names. */
  keys: string[];
  /** For each, the latents whose top images it is among. */
  latents: number[][];
}

/** A script in `data/images`: lists with an entry for each of its images. */
interface ImageBlock {
  /** In the order of `About.labels`. */
  labels: (string | null)[][];
  /** The latents that fire most strongly on it, the strongest first. */
  latents: number[][];
  /** Their activations. */
  values: (number | null)[][];
  /** The patches with these; empty for a stream without patches. */
  patches: number[][];
  /** How many latents fire on it. */
  n_latents: number[];
}

/** `data/contrast/00/labels.js`: the texts of one of `About.labels` that can be contrasted. */
interface ContrastIndex {
  /** Sorted. */
  texts: string[];
  /** How many images have each. */
  images: number[];
  /** How many texts were left out, as fewer than `least` images have them. */
  n_few: number;
  /** How many more were left out, as there are so many. */
  n_beyond: number;
  least: number;
}

/** One of the images that were drawn at random from those with a label. */
interface DrawnImage {
  row: number;
  key: string;
  /**
   * What fires on it, packed (see `varints`): for each latent, how many latents lie between it and
   * the one before, its activation from 1 to 255, its largest anywhere, and the patch.
   */
  fires: string;
}

/** A script in `data/contrast`: lists with an entry for each of its texts. */
interface ContrastBlock {
  /**
   * What fires on its images, packed: for each latent, how many latents lie between it and the one
   * before, on how many of the images it fires, and the mean over all of them of its largest
   * activation on each, in thousandths of its largest anywhere.
   */
  fires: string[];
  drawn: DrawnImage[][];
}

/** A script in `data/blocks`: lists with an entry for each of its latents, by their places. */
interface PageBlock {
  /** The labels in this block. Others are given by their places here. */
  texts: string[];
  /** By row: the image's key, then its labels in the order of `About.labels`. */
  images: Record<string, (string | number | null)[]>;
  /** Images in the order of `About.rows`; −1 where there is none. */
  rows: number[][];
  /** The latent's largest activation on each. */
  values: (number | null)[][];
  /** The strongest patch of each; −1 for a stream without patches. */
  patches: number[][];
  /**
   * The most common labels of the images on which it fires, for each of `About.labels`: the label,
   * how many images have it, and its share of all labelled images.
   */
  firing: number[][][][];
  /**
   * For which label images were sought on which it is silent, how many were drawn, and on how many
   * it is silent; empty without labels.
   */
  silent: number[][];
  /** The first bin that isn't empty, then the counts from there on; empty if it never fires. */
  histogram: number[][];
  /** Vectors on which it fires in each cell of the image; empty for a stream without patches. */
  positions: number[][];
  /** Latents with the nearest directions. */
  neighbours: number[][];
  /** Theirs. */
  cosines: number[][];
  /** Latents with which it fires: the latent, PMI, and the vectors on which both fire. */
  partners?: number[][][];
}

/** Settings of a training; its `meta.json` has more. */
interface Training {
  tokens: string;
  layer?: number | null;
  /** Absent for none. */
  normalisation?: string;
}

/** Pairs of a step and the nmse there. */
interface Curve {
  train: number[][];
  held_out: number[][];
}

/** A latent in a strip. */
interface Example {
  latent: number;
  /** Its name. */
  label: string | null;
  /** How many of the top images have the label. */
  count: number;
  /** How many top images count. */
  n_top: number;
  /** The label's share of all images. */
  base: number | null;
  /** Names of thumbnails, relative to the run's `pictures`. */
  pictures: string[];
}

/** A few latents of a run. */
interface Strips {
  /** Those that its page lists first. */
  first: Example[];
  /** Those drawn at random from all that fire. */
  drawn: Example[];
  /** How many fire. */
  n_live: number;
  /** Of the draw. */
  seed: number;
}

/** A run in the gallery. */
interface GalleryRun {
  /** Whether the last command asked for this run. */
  current: boolean;
  run: Lineage;
  /** To its page. Empty in a page that travels alone. */
  link: string;
  /** The folder of its page, to which names of thumbnails and of data are relative. */
  pictures: string;
  /** Directions in one of its scripts of directions. */
  block: number;
  /** Latents in one script of their data. */
  data_latents: number;
  /** Largest number of files in one folder. */
  folder: number;
  summary: Summary;
  credit: string | null;
  architecture: string;
  telling: Record<string, number | null>;
  doubts: string[];
  settings: Training;
  /** Figures of the last step of the training. */
  final: Record<string, unknown> | null;
  curve: Curve;
  strips: Strips;
  /** A few of its figures. */
  evaluation?: EvaluatedFigure[];
  /** All of them, by their titles. */
  measured?: Record<string, MeasuredInShort>;
  /** Link of the same run with an untrained tower, if the gallery has it; its own if it is one. */
  untrained?: string;
}

/** A dictionary of a sweep. */
interface FrontierPoint {
  name: string;
  label: string;
  /** As that of a run. */
  link: string;
  l0: number;
  nmse: number;
  /** Share of its latents that are dead. */
  dead: number;
  pareto: boolean;
}

/** The points of a sweep that can be compared. */
interface Frontier {
  entry: string;
  where: string;
  /** Whether the error is that of held-out images. */
  held_out: boolean;
  rule: string;
  /** Name of the recommended point. */
  recommended: string | null;
  points: FrontierPoint[];
}

/** The data that the gallery starts with. */
interface Gallery {
  runs: GalleryRun[];
  frontiers: Frontier[];
  /** What the figures of evaluations say, by their titles. */
  meanings?: Record<string, string>;
  comparisons?: Comparison[];
}

type Heat = string[];

type Directions = string[];

type Format = "chance" | "count" | "lift" | "number" | "percent" | "share" | "text";
