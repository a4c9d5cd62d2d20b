/* The least that a wake and a restart could take: the same program behind the same walls, by hand.
 *
 *   floor wake    LEVEL PORT WORKDIR PROGRAM [ARGUMENT...]          prints milliseconds, once
 *   floor launch  LEVEL PORT WORKDIR PROGRAM [ARGUMENT...]          prints when it forked; the program when it began
 *   floor respawn LEVEL PORT WORKDIR ROUNDS PROGRAM [ARGUMENT...]   prints milliseconds, once for each round
 *
 * LEVEL `process`: control groups, another user id, no capability to gain. LEVEL `namespace`: also user, pid,
 * mount, network, ipc and uts namespaces, and a root of its own with /usr, /etc, /proc, /dev, /tmp, WORKDIR.
 * LEVEL `container`: the same with WORKDIR as root, below an empty writable layer; it has /proc, /dev and /tmp.
 * LEVEL `gvisor`: control groups and a network namespace; PROGRAM is runsc, which makes the rest.
 *
 * On the clock: everything from the fork to the first byte of an answer. Not on it: this program's own start,
 * and making the control groups, which Insula makes ahead, too. Left out, in favour of the floor: the system
 * call filter, captured output, a record, a process that reaps, /etc file by file, files that belong to the
 * application's root; at `gvisor` the other namespaces.
 *
 * It tries to connect every 100 us, like an impatient client; `wake` of a slow program pays for that with a few
 * per cent of one processor. PORT is the application's, in `PORT` of its environment.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BASE 1900000 /* host ids of the application, outside of those that Insula gives */
#define EVERY 100000 /* ns between two tries to connect */
#define PATIENCE 30000.0 /* ms */

static const char *controllers[] = {"cpu", "cpuacct", "memory", "pids", "freezer"};
enum { GROUPS = sizeof controllers / sizeof *controllers };
static char dirs[GROUPS][128];
static int tasks[GROUPS];
static enum { NO_WALLS, NAMESPACES, IMAGE, SENTRY } walled;
static const char *workdir;
static int output = 1; /* of the program */

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(1);
}
static void must(int rc, const char *what) {
    if (rc < 0) fail(what);
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}
static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    must(fd, path);
    must(write(fd, text, strlen(text)), path);
    close(fd);
}

/* Version 1 only: where there is none, the floor has no control groups, which is in its favour. */
static void make_groups(void) {
    for (int i = 0; i < GROUPS; i++) {
        char file[768];
        snprintf(dirs[i], sizeof *dirs, "/sys/fs/cgroup/%s/insula-floor-%d", controllers[i], getpid());
        snprintf(file, sizeof file, "%s/tasks", dirs[i]);
        tasks[i] = mkdir(dirs[i], 0755) == 0 ? open(file, O_WRONLY | O_CLOEXEC) : -1;
    }
}
static void remove_groups(void) {
    for (int i = 0; i < GROUPS; i++)
        if (tasks[i] >= 0)
            while (rmdir(dirs[i]) < 0 && errno == EBUSY) usleep(1000);
}

static void bind_to(const char *from, const char *root, int file) {
    char to[512];
    snprintf(to, sizeof to, "%s%s", root, from);
    if (file) close(open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    else for (char *at = to + strlen(root) + 1;; at++)
        if (*at == '/' || !*at) {
            char was = *at;
            *at = 0;
            mkdir(to, 0755);
            if (!(*at = was)) break;
        }
    must(mount(from, to, 0, MS_BIND | MS_REC, 0), to);
}
static void overlay(const char *root) {
    char options[512];
    must(mkdir("/mnt/upper", 0755) | mkdir("/mnt/work", 0755) | mkdir(root, 0755), root);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=/mnt/upper,workdir=/mnt/work", workdir);
    must(mount("overlay", root, "overlay", MS_NOSUID | MS_NODEV, options), "overlay");
    must(mount("tmpfs", "/mnt/root/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k"), "/dev");
    workdir = "/";
}
static void build_root(void) {
    static const char *devices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"};
    static const char *links[] = {"bin", "sbin", "lib", "lib64"};
    const char *root = walled == IMAGE ? "/mnt/root" : "/mnt";
    char path[64], own[64];
    must(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0), "private mounts");
    must(mount("tmpfs", "/mnt", "tmpfs", 0, "mode=755,size=1m"), "root");
    if (walled == IMAGE) overlay(root);
    else {
        bind_to("/usr", root, 0);
        bind_to("/etc", root, 0);
        must(mkdir("/mnt/dev", 0755) | mkdir("/mnt/tmp", 0777) | mkdir("/mnt/proc", 0755), "/mnt");
    }
    for (unsigned i = 0; i < sizeof devices / sizeof *devices; i++) bind_to(devices[i], root, 1);
    for (unsigned i = 0; walled != IMAGE && i < sizeof links / sizeof *links; i++) {
        char to[32];
        snprintf(path, sizeof path, "%s/%s", root, links[i]);
        snprintf(to, sizeof to, "usr/%s", links[i]);
        must(symlink(to, path), path);
    }
    snprintf(own, sizeof own, "%s/tmp", root);
    must(mount("tmpfs", own, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"), own);
    snprintf(own, sizeof own, "%s/proc", root);
    must(mount("proc", own, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0), own);
    if (walled != IMAGE) bind_to(workdir, root, 0);
    must(chdir(root), root);
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "old root");
}
static void raise_loopback(void) {
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must(ioctl(s, SIOCSIFFLAGS, &lo), "loopback");
    close(s);
}

static void become(char **argv, uid_t id) {
    must(setsid(), "session");
    must(setgroups(0, 0), "groups");
    must(setresgid(id, id, id), "group id");
    must(setresuid(id, id, id), "user id");
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    must(chdir(workdir), workdir);
    execvp(argv[0], argv);
    fail(argv[0]);
}

/* The application, as a child or grandchild; answers who is to be waited for. */
static pid_t start(char **argv) {
    int up[2], mapped[2];
    char text[64], path[64], word;
    must(pipe2(up, O_CLOEXEC) | pipe2(mapped, O_CLOEXEC), "pipe");
    pid_t pid = fork();
    must(pid, "fork");
    if (pid == 0) {
        must(dup2(output, 1), "output");
        for (int i = 0; i < GROUPS; i++)
            if (tasks[i] >= 0) must(write(tasks[i], "0", 1), dirs[i]);
        if (!walled) become(argv, BASE);
        if (walled == SENTRY) {
            must(unshare(CLONE_NEWNET), "unshare");
            raise_loopback();
            must(write(up[1], "x", 1), "tell");
            must(read(mapped[0], &word, 1), "hear");
            execvp(argv[0], argv);
            fail(argv[0]);
        }
        must(unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS), "unshare");
        must(write(up[1], "x", 1), "tell");
        must(read(mapped[0], &word, 1), "hear");
        must(setresgid(0, 0, 0) | setresuid(0, 0, 0), "root inside");
        raise_loopback();
        pid_t inner = fork();
        must(inner, "fork");
        if (inner == 0) {
            must(prctl(PR_SET_PDEATHSIG, SIGKILL), "parent");
            build_root();
            become(argv, 1000);
        }
        int status;
        waitpid(inner, &status, 0);
        _exit(1);
    }
    if (walled) {
        must(read(up[0], &word, 1), "hear");
        snprintf(text, sizeof text, "0 %d 65536", BASE);
        for (int i = 0; walled != SENTRY && i < 2; i++) {
            snprintf(path, sizeof path, "/proc/%d/%s", pid, i ? "gid_map" : "uid_map");
            put(path, text);
        }
        snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
        int net = open(path, O_RDONLY | O_CLOEXEC);
        must(net, path);
        must(setns(net, CLONE_NEWNET), "enter the network");
        close(net);
        must(write(mapped[1], "x", 1), "tell");
    }
    close(up[0]), close(up[1]), close(mapped[0]), close(mapped[1]);
    return pid;
}

/* 1 when there was an answer. */
static int ask(int port) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char answer[16];
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), got = 0;
    if (connect(s, (struct sockaddr *)&to, sizeof to) == 0 && write(s, request, sizeof request - 1) > 0)
        got = read(s, answer, sizeof answer) > 0;
    close(s);
    return got;
}
static void until_answered(int port, double since) {
    struct timespec pause = {.tv_nsec = EVERY};
    while (!ask(port)) {
        if (now() - since > PATIENCE) errno = ETIMEDOUT, fail("no answer");
        nanosleep(&pause, 0);
    }
}
/* In a pid namespace the first process takes the others with it. */
static pid_t first_inside(pid_t pid) {
    char path[64], text[64] = "";
    if (!walled || walled == SENTRY) return pid;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd, path);
    must(read(fd, text, sizeof text - 1), path);
    close(fd);
    return atoi(text);
}

int main(int argc, char **argv) {
    if (argc < 6) return fprintf(stderr, "floor: see the head of floor.c\n"), 2;
    int respawn = !strcmp(argv[1], "respawn"), port = atoi(argv[3]), status;
    walled = !strcmp(argv[2], "namespace") ? NAMESPACES : !strcmp(argv[2], "container") ? IMAGE : !strcmp(argv[2], "gvisor") ? SENTRY : NO_WALLS;
    workdir = argv[4];
    int rounds = respawn ? atoi(argv[5]) : 0;
    char **program = argv + (respawn ? 6 : 5);
    prctl(PR_SET_TIMERSLACK, 1000);
    setenv("PORT", argv[3], 1);
    make_groups();
    if (!strcmp(argv[1], "launch")) {
        struct timespec t;
        unsetenv("PORT"); /* the program only tells the time, and ends */
        clock_gettime(CLOCK_REALTIME, &t);
        pid_t pid = start(program);
        waitpid(pid, &status, 0);
        printf("%lld.%06ld\n", (long long)t.tv_sec, t.tv_nsec / 1000);
        remove_groups();
        return 0;
    }
    must(output = open("/dev/null", O_WRONLY | O_CLOEXEC), "/dev/null"); /* what it says is not a measurement */
    double from = now();
    pid_t pid = start(program);
    until_answered(port, from);
    if (!respawn) printf("%.3f\n", now() - from);
    for (int i = 0; i < rounds; i++) {
        from = now();
        must(kill(first_inside(pid), SIGKILL), "kill");
        must(waitpid(pid, &status, 0), "wait");
        pid = start(program);
        until_answered(port, from);
        printf("%.3f\n", now() - from);
    }
    kill(first_inside(pid), SIGKILL);
    waitpid(pid, &status, 0);
    remove_groups();
    return 0;
}
