"""The worker: a JSON-lines server on stdin/stdout that loads, runs and times programs on a device.

This folder is self-contained (the standard library, numpy and the runtime; modules of its own by
relative imports alone), for it is sent to a device as one archive and runs there as the package
``worker``; see :mod:`profiler.worker_archive`. What times programs is the same everywhere.

Every request is a line ``{"id": 1, "op": "time", ...}``, every reply a line with the same id;
a failed request is answered ``{"id": 1, "error": {"type": ..., "message": ...}}`` and the server
goes on. It ends when stdin does, so it never outlives who started it. Operations:

hello    runtime, threads, cores (or null), provider  -> runtime (with its version), pid
load     stages: name, path, reference, repeat, feeds, carry, initial, counter  -> handle
time     handle, calls, samples                       -> wall_ns, cpu_ns (whole samples)
run      handle, inputs (an .npz, or null), outputs (where to write an .npz)
profile  handle, calls -> stages: name, runs of its graph in a call, nodes: name, op, us (all runs of a call)
survey   seconds  -> facts, after, noise, clock, processes: what would disturb a measurement
reference  workload, calls, samples                   -> wall_ns, cpu_ns, of a workload that is built in
counters -> numbers that only grow, of what may disturb
facts, ping, unload (handle), quit
"""
