"""One thread: the machine is shared, and two threads on a busy core are slower than one."""

import torch

torch.set_num_threads(1)
