/* with-vsock PROGRAM ARGUMENT...: becomes the program, in which one bind() to the vsock address of a host succeeds.
 *
 * Incus does not even start where the kernel has no vhost_vsock and QEMU is there: it wants to listen on that address
 * for its virtual machines. A process beside it traces it until it comes to that call, makes the address the wildcard,
 * which every kernel with vsock accepts, and goes away. No machine is ever started here, so nobody calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

_Static_assert(sizeof(long) == 2 * sizeof(unsigned), "a word of ptrace is two fields of the address");
_Static_assert(VMADDR_PORT_ANY == VMADDR_CID_ANY && VMADDR_CID_ANY == -1U, "the wildcards are all ones");

/* True once the thread stands before the call and its address has been changed. */
static int changed(pid_t thread) {
    struct __ptrace_syscall_info call;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof call, &call) <= 0) return 0;
    if (call.op != PTRACE_SYSCALL_INFO_ENTRY || call.entry.nr != SYS_bind) return 0;
    if (call.entry.args[2] != sizeof(struct sockaddr_vm)) return 0;

    char *address = (char *)call.entry.args[1];
    long first = ptrace(PTRACE_PEEKDATA, thread, address, 0);
    if ((first & 0xffff) != AF_VSOCK) return 0;
    /* Port and context are neighbours and one word. */
    unsigned asked[2];
    char *word = address + offsetof(struct sockaddr_vm, svm_port);
    errno = 0;
    long port_and_cid = ptrace(PTRACE_PEEKDATA, thread, word, 0);
    memcpy(asked, &port_and_cid, sizeof asked);
    if (errno != 0 || asked[1] != VMADDR_CID_HOST) return 0;
    /* Any context and any free port: every Incus 6.0 asks for the same ports, one after the other. */
    return ptrace(PTRACE_POKEDATA, thread, word, (void *)-1L) == 0;
}

/* Its end lets all threads run on untraced. */
static void trace(pid_t program, int ready) {
    long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACESYSGOOD;
    if (ptrace(PTRACE_SEIZE, program, 0, (void *)options) != 0) _exit(1);
    ptrace(PTRACE_INTERRUPT, program, 0, 0);
    close(ready);
    for (;;) {
        int status;
        pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0) _exit(0);
        if (!WIFSTOPPED(status)) continue;
        int signal = WSTOPSIG(status);
        if (signal == (SIGTRAP | 0x80)) {
            if (changed(thread)) _exit(0);
            signal = 0;
        } else if (status >> 16 != 0) {
            signal = 0;
        }
        ptrace(PTRACE_SYSCALL, thread, 0, (void *)(long)signal);
    }
}

int main(int count, char **arguments) {
    int ready[2];
    char byte;
    if (count < 2 || pipe(ready) != 0) return 1;
    pid_t program = getpid();
    /* The tracer is a grandchild, so that the program has no child that it does not know. */
    pid_t child = fork();
    if (child == 0) {
        close(ready[0]);
        if (fork() == 0) trace(program, ready[1]);
        _exit(0);
    }
    close(ready[1]);
    waitpid(child, 0, 0);
    /* Ends when the tracer has taken hold, or could not. */
    while (read(ready[0], &byte, 1) < 0 && errno == EINTR) {
    }
    close(ready[0]);
    execv(arguments[1], arguments + 1);
    return 127;
}
