"""Two network interfaces (TAP) that are one cable with a delay: delay.py NAME NAME MILLISECONDS

Every frame comes out at the other end so much later, in order; what finds a full queue is lost, as at a real one. For
kernels without netem. Says "ready" once both are there, and ends with its input.
"""

import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
QUEUE = 20_000


def tap(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22s", name.encode(), IFF_TAP | IFF_NO_PI, b""))
    return device


one, other, delay = tap(sys.argv[1]), tap(sys.argv[2]), float(sys.argv[3]) / 1000
leads_to = {one: other, other: one}
queues = {one: collections.deque(), other: collections.deque()}
print("ready", flush=True)
while True:
    dues = [queue[0][0] for queue in queues.values() if queue]
    wait = max(0.0, min(dues) - time.monotonic()) if dues else None
    readable, _, _ = select.select([one, other, 0], [], [], wait)
    if 0 in readable and not os.read(0, 1):
        break
    now = time.monotonic()
    for device in readable:
        queue = queues[leads_to[device]] if device else None
        # As many as wait: selecting for each would cost more than moving it.
        for _ in range(64 if device else 0):
            try:
                frame = os.read(device, 65536)
            except OSError:
                break
            if len(queue) < QUEUE:
                queue.append((now + delay, frame))
    for device, queue in queues.items():
        while queue and queue[0][0] <= now:
            try:
                os.write(device, queue.popleft()[1])
            except OSError:
                pass
