// An attack on whoever has a process make system calls: a process that shares its memory writes other instructions over its
// entry point, again and again. The first argument says which; with a second one, a filter forbids what the attack
// is after. It says `ready`, reads a line, and says `went on`.
#define _GNU_SOURCE
#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct attack {
  const char *name;
  unsigned length;
  unsigned char code[16];
};

#ifndef __x86_64__
#error "the instructions are those of x86_64"
#endif

static const struct attack attacks[] = {
    // unshare(CLONE_NEWUSER), and no further.
    {"unshare", 14, {0xb8, 0x10, 1, 0, 0, 0xbf, 0, 0, 0, 0x10, 0x0f, 0x05, 0xeb, 0xfe}},
    // What was to be called, as a call of a 32-bit program: number and arguments mean something else.
    {"other machine", 4, {0xcd, 0x80, 0xeb, 0xfe}},
    // What was to be called, from elsewhere.
    {"other place", 12, {0xeb, 0x06, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0x05, 0xeb, 0xfe}},
    {"no instruction", 2, {0x0f, 0x0b}},
    {"no call", 2, {0xeb, 0xfe}},
};

static const struct attack *attack;

static int rewrite(void *entry) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    memcpy(entry, attack->code, attack->length);
    __asm__ volatile("" ::: "memory");
  }
  return 0;
}

static int filter(void) {
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_unshare, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0;
}

int main(int argc, char **argv) {
  static char stack[65536];
  char line[64];
  uintptr_t entry = getauxval(AT_ENTRY), page = entry & ~(uintptr_t)4095;
  for (unsigned i = 0; i < sizeof attacks / sizeof *attacks; i++)
    if (argc > 1 && strcmp(attacks[i].name, argv[1]) == 0)
      attack = &attacks[i];
  if (attack == NULL || (argc > 2 && filter() != 0))
    return 2;
  // What was asked for has to be refused by the filter, and not by the lack of a right.
  if (unshare(CLONE_NEWUSER) == 0)
    return 3;
  if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
    return 4;
  if (clone(rewrite, stack + sizeof stack, CLONE_VM | SIGCHLD, (void *)entry) < 0)
    return 5;
  puts("ready");
  fflush(stdout);
  if (fgets(line, sizeof line, stdin) != NULL)
    puts("went on");
  fflush(stdout);
  for (;;)
    pause();
}
