// The kernel's word on seccomp filters. Reads records from its input, numbers between spaces: how many instructions there
// are, code, jt, jf and k of each, a system call's number and its six arguments. Has a child make that call under that
// filter, and writes a line for each: `error N`, `signal N` or `rejected`.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long long number(void) {
  unsigned long long value;
  if (scanf("%llu", &value) != 1)
    exit(0);
  return value;
}

int main(void) {
  static struct sock_filter rules[4096];
  for (;;) {
    struct sock_fprog program = {(unsigned short)number(), rules};
    for (unsigned i = 0; i < program.len; i++) {
      rules[i].code = (unsigned short)number();
      rules[i].jt = (unsigned char)number();
      rules[i].jf = (unsigned char)number();
      rules[i].k = (unsigned)number();
    }
    long call = (long)number();
    long a[6];
    for (int i = 0; i < 6; i++)
      a[i] = (long)number();
    int status;
    volatile int found = -1;
    pid_t child = vfork();
    if (child == 0) {
      // Nothing but the call itself is possible under the filter: what it gave is left in the memory that both share.
      if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(1);
      found = syscall(call, a[0], a[1], a[2], a[3], a[4], a[5]) == -1 ? errno : 0;
      for (;;)
        __builtin_trap();
    }
    waitpid(child, &status, 0);
    if (WIFEXITED(status))
      puts("rejected");
    else if (found >= 0)
      printf("error %d\n", found);
    else
      printf("signal %d\n", WTERMSIG(status));
    fflush(stdout);
  }
}
