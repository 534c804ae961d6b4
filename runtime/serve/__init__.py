"""The three APIs and the text API for other processes.

    wire.py      frames: the bytes on a Unix socket or in a WebSocket message (docs/serve.md has them one by one)
    links.py     a frame in, a frame out, over either transport, every wait bounded
    client.py    `connect(url)`, and applications that are a component of the device; needs numpy alone

The serving process, apart from the device's so that no client can hold up a tick:

    worker.py    its main; process.py starts and supervises it from the device's side
    server.py    who may come in; threads of connections
    requests.py  what a client may ask; sessions.py: its own session of the backbone; budget.py: how much of it
    hub.py       the way to the device's live session; chat.py: the OpenAI format over HTTP

In the device's process:

    port.py      what comes from the serving process enters a turn, what the turn tells leaves; it never waits
    guests.py    applications as components: supervised senses and limbs
"""
