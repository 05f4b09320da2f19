"""Ten steps in float64 by one of several processes; a program of `test_parallel`.

python tests/ten_steps.py SIZE OUT SETTINGS
"""

import json
import sys

import numpy as np
import torch

from saev import sae as saes
from saev.core.spec import parsed
from saev.settings.sae import AnySaeSettings
from saev.train import parallel
from saev.train.trainer import Trainer

size, out, options = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
torch.set_num_threads(1)
processes = parallel.join(size, torch.device("cpu"))
settings = parsed(AnySaeSettings, options)
sae = saes.build(settings, 24, torch.Generator().manual_seed(0)).double()
trainer = Trainer(sae, n_steps=10, mean=np.zeros(24), processes=processes)
low, high = processes.share(64)
lines = []
for step in range(10):
    x = np.random.default_rng(step).standard_normal((64, 24)) * (1 + step % 3)
    lines.append(trainer.figures(*trainer.train(x[low:high])))
if processes.first:
    state = {name: t.detach().numpy() for name, t in trainer.tensors().items()}
    np.savez(out, **state, lines=json.dumps(lines))
