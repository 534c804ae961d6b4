/* The devices of the host port: perfect ones, with faults to inject. The real drivers (firmware/devices/) have their own tests. */
#include "host.h"

static struct motor_sample axes[HAL_AXES];
static int16_t targets[HAL_AXES];
static bool torque, silent;
static struct force_sample force;

void host_devices_init(void) {
    for (unsigned axis = 0; axis < HAL_AXES; axis++) axes[axis].valid = true;
    force.valid = true;
    force.t_ticks = hal_ticks();
}

void motor_init(void) {}
void motor_poll(void) {
    for (unsigned axis = 0; axis < HAL_AXES; axis++) {
        if (torque && axes[axis].valid) axes[axis].position_cdeg = targets[axis];
        axes[axis].t_ticks = hal_ticks();
    }
}
void motor_target(unsigned axis, int16_t position_cdeg) { targets[axis] = position_cdeg; }
void motor_torque(bool on) { torque = on; }
struct motor_sample motor_sample(unsigned axis) { return axes[axis]; }

void force_init(void) {}
void force_poll(void) {
    if (silent || hal_ticks() - force.t_ticks < HOST_TICK_HZ / 100u) return;
    force.t_ticks = hal_ticks();
    force.seq++;
}
struct force_sample force_sample(void) { return force; }

void host_axis(unsigned axis, int valid, int fault) {
    axes[axis].valid = valid != 0;
    axes[axis].fault = (uint8_t)fault;
}
void host_force(int force_cn, int valid, int fault, int is_silent) {
    force.force_cn = (int16_t)force_cn;
    force.valid = valid != 0;
    force.fault = (uint8_t)fault;
    silent = is_silent != 0;
}
int host_target(unsigned axis) { return targets[axis]; }
int host_torque(void) { return torque; }
