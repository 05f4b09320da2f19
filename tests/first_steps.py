"""The first steps of several dictionaries in float64, by one of several processes.

python tests/first_steps.py SIZE FOLDER '{"NAME": SETTINGS, …}'
"""

import json
import sys

import numpy as np
import torch

from saev import sae as saes
from saev.core.spec import parsed
from saev.settings.sae import AnySaeSettings
from saev.train import parallel
from saev.train.trainer import DEAD_EVERY, Trainer

STEPS = DEAD_EVERY + 4
"""So that some know of dead latents."""

size, folder, every = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
torch.set_num_threads(1)
processes = parallel.join(size, torch.device("cpu"))
low, high = processes.share(64)
for name, options in every.items():
    sae = saes.build(parsed(AnySaeSettings, options), 24, torch.Generator().manual_seed(0)).double()
    trainer = Trainer(sae, n_steps=STEPS, mean=np.zeros(24), processes=processes)
    lines = []
    for step in range(STEPS):
        x = np.random.default_rng(step).standard_normal((64, 24)) * (1 + step % 3)
        lines.append(trainer.figures(*trainer.train(x[low:high])))
    state = trainer.tensors()
    if processes.first:
        state = {key: t.detach().numpy() for key, t in state.items()}
        np.savez(f"{folder}/{name}.npz", **state, lines=json.dumps(lines))
