/* What main and the start-up code need of this port besides hal.h. */
#ifndef INNERVATE_PORT_H
#define INNERVATE_PORT_H

int main(void);
void port_begin(void);
void port_wait(void);
void port_reset_handler(void);
void port_fault(void);
void port_nmi(void);
void port_systick(void);
void port_rx0(void);
void port_rx1(void);
void port_rx2(void);

#endif
