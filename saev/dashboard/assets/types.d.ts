// Written by tests/typescript.py (make format) from saev/dashboard/structures.py.

/** A column of `latents.parquet`. */
interface Column {
  /** Its name. If it is `of_label`, there is a ``name.label`` for each label. */
  name: string;
  /** Its title in the menu for sorting. */
  title: string;
  format: "chance" | "count" | "number" | "percent" | "share" | "text";
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
  /** Latents in one block of data. */
  block: number;
  /** Largest number of files in one folder. */
  folder: number;
  /** Latents in one script of heat maps. */
  heat_latents: number;
  top_images: number;
  /** Height and width of the grid of patches; null for a stream without patches. */
  grid: number[] | null;
  bin_edges: (number | null)[];
  labels: string[];
  /** The columns that the page shows. One that is `of_label` exists for each of `labels`. */
  columns: Column[];
  orders: string[];
  /** A latent is named after its most common label if its chance is below this. */
  named_below: number;
  card: Shown[];
  tiles: Shown[];
  label_table: Shown[];
  filters: Filter[];
  summary: Summary;
  credit: string | null;
}

/** A script in `data/blocks`: lists with an entry for each of its latents. */
interface PageBlock {
  /** By row: the image's key, then its labels in the order of `About.labels`. */
  images: Record<string, (string | null)[]>;
  /** Top images, strongest first; −1 where there is none. */
  rows: number[][];
  /** Their activations. */
  values: (number | null)[][];
  /** The strongest patch of each; −1 for a stream without patches. */
  patches: number[][];
  /** The first bin that isn't empty, then the counts from there on; empty if it never fires. */
  histogram: number[][];
  /** Latents with the nearest directions. */
  neighbours: number[][];
  /** Theirs. */
  cosines: number[][];
}

/** Settings of a training; its `meta.json` has more. */
interface Training {
  tokens: string;
  layer?: number | null;
}

/** Pairs of a step and the nmse there. */
interface Curve {
  train: number[][];
  held_out: number[][];
}

/** A latent worth a look. */
interface Example {
  latent: number;
  label: string | null;
  /** Names of thumbnails, relative to the run's `pictures`. */
  pictures: string[];
}

/** A run in the gallery. */
interface GalleryRun {
  /** Whether the last command asked for this run. */
  current: boolean;
  run: Lineage;
  link: string;
  /** The folder that names of thumbnails are relative to. */
  pictures: string;
  summary: Summary;
  credit: string | null;
  architecture: string;
  telling: Record<string, number | null>;
  doubts: string[];
  settings: Training;
  /** Figures of the last step of the training. */
  final: Record<string, unknown> | null;
  curve: Curve;
  examples: Example[];
}

/** A dictionary of a sweep. */
interface FrontierPoint {
  name: string;
  label: string;
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
}

type Figures = Record<string, (number | string | null)[]>;

type Heat = string[];

type Format = "chance" | "count" | "number" | "percent" | "share" | "text";
