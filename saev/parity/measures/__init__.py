"""How far two results of a stage are apart: a file a stage."""
