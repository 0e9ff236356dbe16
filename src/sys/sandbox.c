/* The list is of what is allowed: a call that the kernel learns tomorrow is forbidden today. The
 * suite runs with a build that dies of any other call, so the list is as long as it must be. */
#include "sys/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A service manager that left us none may forbid to say so again. */
static bool has_none(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capget, &header, held) < 0)
        return false;
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        if (held[i].effective | held[i].permitted | held[i].inheritable)
            return false;
    return true;
}

int sandbox_drop_privileges(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
         capability++)
        prctl(PR_CAPBSET_DROP, capability, 0, 0, 0); /* refused to who has none to drop */
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    int result = syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
    return result == -EPERM && has_none() ? 0 : result;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif

#if !defined(METE_WITHOUT_SECCOMP) && !defined(IS_SANITIZED)

#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifdef METE_SANDBOX_KILLS
#define OTHERWISE SCMP_ACT_KILL_PROCESS
#else
#define OTHERWISE SCMP_ACT_ERRNO(EPERM)
#endif

/* By name, because not every architecture has every one; what is unknown there is passed by. */
static const char *const allowed[] = {
    /* datagrams, connections, rings that were made before */
    "io_uring_enter", "io_uring_register", "recvmsg", "recvmmsg", "recvfrom", "sendmsg", "sendmmsg",
    "sendto", "read", "readv", "write", "writev", "accept4", "accept", "connect", "bind", "listen",
    "shutdown", "getsockname", "getpeername", "getsockopt", "setsockopt", "close", "epoll_wait",
    "epoll_pwait", "epoll_pwait2", "epoll_ctl", "epoll_create1", "eventfd2", "poll", "ppoll",
    "select", "pselect6", "timerfd_create", "timerfd_settime", "fcntl",
    /* a reload reads files; what is saved is written, and renamed */
    "openat", "open", "fstat", "stat", "lstat", "newfstatat", "statx", "lseek", "pread64",
    "pwrite64", "preadv", "pwritev", "readlink", "readlinkat", "access", "faccessat", "faccessat2",
    "getdents64", "getcwd", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "unlink",
    "unlinkat", "rename", "renameat", "renameat2", "ftruncate", "fallocate", "fsync", "fdatasync",
    "flock", "fstatfs", "statfs", "umask", "fchmod",
    /* memory, that cannot be run (below) */
    "brk", "munmap", "mremap", "madvise", "mlock", "mlock2", "munlock", "msync", "mincore",
    /* threads, waiting, signals, publication */
    "futex", "membarrier", "sched_yield", "sched_getaffinity", "sched_setaffinity", "rseq",
    "rt_sigprocmask", "rt_sigreturn", "rt_sigaction", "sigaltstack", "signalfd4", "restart_syscall",
    "exit", "exit_group", "getpid", "gettid", "tgkill", "set_robust_list",
    /* what time it is, who we are, chance */
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
    "getrandom", "getuid", "geteuid", "getgid", "getegid", "uname", "sysinfo", "getrusage",
    "prlimit64", "getrlimit", "getcpu"};

static int allow_all(scmp_filter_ctx filter)
{
    for (unsigned i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        int call = seccomp_syscall_resolve_name(allowed[i]);
        int result =
            call == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
        if (result && result != -EDOM) /* not of this architecture */
            return result;
    }
    return 0;
}

/* The calls whose arguments matter. */
static int allow_some(scmp_filter_ctx filter)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}; /* the last: resolver */
    for (unsigned i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        const struct scmp_arg_cmp is_family = {
            .arg = 0, .op = SCMP_CMP_EQ, .datum_a = (scmp_datum_t)families[i], .datum_b = 0};
        int result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, is_family);
        if (result)
            return result;
    }
    const struct scmp_arg_cmp cannot_run = {
        .arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC, .datum_b = 0};
    int result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, cannot_run);
    return result ? result
                  : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, cannot_run);
}

int sandbox_filter_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(OTHERWISE);
    if (!filter)
        return -ENOMEM;
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (!result) /* a tree instead of a list: a tenth of the comparisons for each call */
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (!result)
        result = allow_all(filter);
    if (!result)
        result = allow_some(filter);
    if (!result)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}

bool sandbox_has_filter(void)
{
    return true;
}

#else

int sandbox_filter_calls(void)
{
    return -ENOSYS;
}

bool sandbox_has_filter(void)
{
    return false;
}

#endif
