/* The firmware on a board: begin everything, then turn for ever. */
#include "core/session.h"
#include "port.h"

int main(void) {
    static struct session session;
    motor_init();
    force_init();
    session_init(&session, hal_entropy() | 1u, hal_reset_cause() == HAL_RESET_WATCHDOG ? CAUSE_WATCHDOG : CAUSE_BOOT);
    for (;;) {
        session_turn(&session);
        port_wait();
    }
}
