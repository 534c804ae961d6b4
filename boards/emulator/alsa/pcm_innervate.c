/* A sound card made of files: one ALSA user-space PCM, paced like a real one.
 *
 * Why: the microphone driver should meet real PortAudio and real ALSA on machines with no sound card (a build
 * server, an emulator). ALSA loads this plug-in from a configuration file; no kernel module, daemon or privilege.
 *
 *   capture   reads signed 16-bit little-endian frames from `infile`, a raw file or a FIFO; after its end, and
 *             wherever a FIFO has nothing yet, silence
 *   playback  writes the frames to `outfile`, made anew when a stream is prepared
 *   pace      the position follows CLOCK_MONOTONIC; a timerfd wakes whoever polls once per period
 *
 * Rules.
 * 1. The position never passes the application by more than the buffer: a reader that the scheduler holds up
 *    finds the tape paused, not torn, so that captures are bit-exact on a busy machine.
 * 2. Files open when a stream is prepared, not when a program lists the devices.
 * 3. Deleting the file of a running stream unplugs the card: the stream fails with ENODEV.
 *
 * Not imitated: overruns and underruns (rule 1), clock drift, gain, formats other than S16_LE at the declared
 * rate, memory-mapped access.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>

#define NS_PER_S 1000000000LL
#define PERIOD_BYTES_MIN 64
#define PERIOD_BYTES_MAX (1 << 18)

struct tape {
    snd_pcm_ioplug_t io;
    char *path;                     /* the file of this direction, owned */
    int fd;                         /* -1 until prepared */
    long long resumed_ns;           /* when the tape last began to run from `resumed_at` */
    snd_pcm_uframes_t resumed_at;   /* frames */
    snd_pcm_uframes_t position;     /* frames since prepare, unwrapped */
    snd_pcm_uframes_t moved;        /* frames that the application has read or written since prepare */
};

static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int set_timer(struct tape *tape, long long period_ns)
{
    struct timespec period = {.tv_sec = period_ns / NS_PER_S, .tv_nsec = period_ns % NS_PER_S};
    struct itimerspec spec = {.it_interval = period, .it_value = period};
    return timerfd_settime(tape->io.poll_fd, 0, &spec, NULL) < 0 ? -errno : 0;
}

static int tape_start(snd_pcm_ioplug_t *io)
{
    struct tape *tape = io->private_data;
    tape->resumed_ns = now_ns();
    tape->resumed_at = tape->position;
    return set_timer(tape, (long long)io->period_size * NS_PER_S / io->rate);
}

static int tape_stop(snd_pcm_ioplug_t *io)
{
    return set_timer(io->private_data, 0);
}

static snd_pcm_sframes_t tape_pointer(snd_pcm_ioplug_t *io)
{
    struct tape *tape = io->private_data;
    snd_pcm_uframes_t limit = tape->moved;
    struct stat file;
    if (tape->fd >= 0 && !fstat(tape->fd, &file) && !file.st_nlink)
        return -ENODEV;
    if (io->stream == SND_PCM_STREAM_CAPTURE)
        limit += io->buffer_size - 1;   /* a full buffer would read as an empty one */
    if (io->state == SND_PCM_STATE_RUNNING || io->state == SND_PCM_STATE_DRAINING) {
        long long now = now_ns();
        tape->position = tape->resumed_at + (now - tape->resumed_ns) * io->rate / NS_PER_S;
        if (tape->position > limit) {
            tape->position = tape->resumed_at = limit;
            tape->resumed_ns = now;
        }
    }
    return tape->position % io->buffer_size;
}

/* Move `size` frames between the file and the application; a short read is filled with silence. */
static snd_pcm_sframes_t tape_transfer(snd_pcm_ioplug_t *io, const snd_pcm_channel_area_t *areas,
                                       snd_pcm_uframes_t offset, snd_pcm_uframes_t size)
{
    struct tape *tape = io->private_data;
    char *at = (char *)areas->addr + (areas->first + areas->step * offset) / 8;
    size_t want = size * areas->step / 8, done = 0;
    while (done < want) {
        ssize_t n = io->stream == SND_PCM_STREAM_CAPTURE ? read(tape->fd, at + done, want - done)
                                                         : write(tape->fd, at + done, want - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += n;
    }
    if (done < want && io->stream == SND_PCM_STREAM_PLAYBACK)
        return -EIO;
    memset(at + done, 0, want - done);
    tape->moved += size;
    return size;
}

static int tape_prepare(snd_pcm_ioplug_t *io)
{
    struct tape *tape = io->private_data;
    int capture = io->stream == SND_PCM_STREAM_CAPTURE;
    if (tape->fd >= 0)
        close(tape->fd);
    tape->fd = capture ? open(tape->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
                       : open(tape->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    tape->position = tape->resumed_at = tape->moved = 0;
    return tape->fd < 0 ? -errno : 0;
}

static int tape_revents(snd_pcm_ioplug_t *io, struct pollfd *fds, unsigned int count, unsigned short *revents)
{
    unsigned long long ticks;
    if (count == 1 && (fds[0].revents & POLLIN) && read(fds[0].fd, &ticks, sizeof ticks) == sizeof ticks)
        *revents = io->stream == SND_PCM_STREAM_CAPTURE ? POLLIN : POLLOUT;
    else
        *revents = 0;
    return 0;
}

static int tape_close(snd_pcm_ioplug_t *io)
{
    struct tape *tape = io->private_data;
    if (tape->fd >= 0)
        close(tape->fd);
    close(io->poll_fd);
    free(tape->path);
    free(tape);
    return 0;
}

static const snd_pcm_ioplug_callback_t tape_calls = {
    .start = tape_start,       .stop = tape_stop,       .pointer = tape_pointer,       .transfer = tape_transfer,
    .prepare = tape_prepare,   .close = tape_close,     .poll_revents = tape_revents,
};

static int constrain(snd_pcm_ioplug_t *io, unsigned int rate, unsigned int channels)
{
    const unsigned int access[] = {SND_PCM_ACCESS_RW_INTERLEAVED}, format[] = {SND_PCM_FORMAT_S16_LE};
    int err = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_ACCESS, 1, access);
    if (!err)
        err = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_FORMAT, 1, format);
    if (!err)
        err = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_RATE, rate, rate);
    if (!err)
        err = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_CHANNELS, channels, channels);
    if (!err)
        err = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIODS, 2, 64);
    if (!err)
        err = snd_pcm_ioplug_set_param_minmax(io, SND_PCM_IOPLUG_HW_PERIOD_BYTES, PERIOD_BYTES_MIN, PERIOD_BYTES_MAX);
    return err;
}

SND_PCM_PLUGIN_DEFINE_FUNC(innervate)
{
    snd_config_iterator_t i, next;
    const char *infile = NULL, *outfile = NULL, *id;
    long rate = 16000, channels = 1;
    snd_config_for_each(i, next, conf) {
        snd_config_t *entry = snd_config_iterator_entry(i);
        if (snd_config_get_id(entry, &id) < 0 || !strcmp(id, "type") || !strcmp(id, "comment") || !strcmp(id, "hint"))
            continue;
        if ((!strcmp(id, "infile") && !snd_config_get_string(entry, &infile)) ||
            (!strcmp(id, "outfile") && !snd_config_get_string(entry, &outfile)) ||
            (!strcmp(id, "rate") && !snd_config_get_integer(entry, &rate)) ||
            (!strcmp(id, "channels") && !snd_config_get_integer(entry, &channels)))
            continue;
        SNDERR("pcm innervate: bad field %s; known: infile outfile rate channels", id);
        return -EINVAL;
    }
    const char *path = stream == SND_PCM_STREAM_CAPTURE ? infile : outfile;
    if (!path)
        return -ENODEV;   /* this card has no such direction */
    struct tape *tape = calloc(1, sizeof *tape);
    if (!tape || !(tape->path = strdup(path))) {
        free(tape);
        return -ENOMEM;
    }
    tape->fd = -1;
    tape->io.version = SND_PCM_IOPLUG_VERSION;
    tape->io.name = "Innervate file card";
    tape->io.flags = SND_PCM_IOPLUG_FLAG_LISTED | SND_PCM_IOPLUG_FLAG_MONOTONIC;
    tape->io.callback = &tape_calls;
    tape->io.private_data = tape;
    tape->io.poll_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    tape->io.poll_events = POLLIN;
    int err = tape->io.poll_fd < 0 ? -errno : snd_pcm_ioplug_create(&tape->io, name, stream, mode);
    if (err < 0) {
        if (tape->io.poll_fd >= 0)
            close(tape->io.poll_fd);
        free(tape->path);
        free(tape);
        return err;
    }
    if ((err = constrain(&tape->io, rate, channels)) < 0) {
        snd_pcm_ioplug_delete(&tape->io);   /* calls tape_close */
        return err;
    }
    *pcmp = tape->io.pcm;
    return 0;
}

SND_PCM_PLUGIN_SYMBOL(innervate);
