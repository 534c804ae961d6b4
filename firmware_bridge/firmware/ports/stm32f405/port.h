/* What main and the start-up code need of this port besides hal.h. */
#ifndef INNERVATE_PORT_H
#define INNERVATE_PORT_H

int main(void);
/* Clocks, pins, lines, counter, watchdog. Called once before main. */
void port_begin(void);
/* Sleep until an interrupt (a byte, or the 1 kHz tick), unless bytes are waiting. */
void port_wait(void);
void port_reset_handler(void);
void port_fault(void);
void port_systick(void);
void port_usart1(void);
void port_usart2(void);
void port_usart3(void);

#endif
