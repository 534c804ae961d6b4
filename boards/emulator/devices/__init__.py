"""Simulators of what hangs on the microcontroller's other lines: the servo bus and the load cell's transmitter.

wire.py what every simulator offers: bytes in, bytes out, time injected; faults.py what can be made to go wrong; sts.py the servos;
modbus.py the transmitter; plants.py the physics behind them; port.py the socket that joins one to an emulated UART;
apart.py all of them in a process of their own.
"""
