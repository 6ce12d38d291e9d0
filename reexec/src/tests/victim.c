// What the tests of this room trace: a program with everything that a new one must not inherit. Its first argument
// says which kind it is; two more, a system call by number and what a filter answers to it. It says `ready` when it is,
// reads a line, and says `went on`.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ticks;

static void tick(int signal) {
  (void)signal;
  ticks = 1;
}

// Takes its time, and ends in the middle of some company.
static void say_farewell(int signal) {
  (void)signal;
  usleep(100000);
  if (write(1, "farewell\n", 9) == 9)
    _exit(0);
}

static void *end_at_once(void *unused) { return unused; }

// Threads come and go while they are seized.
static void *come_and_go(void *unused) {
  for (;;) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_at_once, NULL) == 0)
      pthread_join(thread, NULL);
  }
  return unused;
}

static void *wait_for_ever(void *unused) {
  for (;;)
    pause();
  return unused;
}

// Held while the first thread starts others, which changes its signal mask.
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;

// Whether a timer was set, which has to go on.
static int often;

static void *go_on(void *unused) {
  char line[64];
  pthread_mutex_lock(&starting);
  pthread_mutex_unlock(&starting);
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) == NULL)
    clearerr(stdin);
  ticks = 0;
  for (int i = 0; i < 5000 && often && !ticks; i++)
    usleep(1000);
  if (often && !ticks)
    exit(6);
  puts("went on");
  fflush(stdout);
  wait_for_ever(NULL);
  return unused;
}

static void start(void *(*work)(void *)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, work, NULL) != 0)
    exit(3);
}

static void busy(void) {
  struct itimerval interval = {{0, 500}, {0, 500}};
  struct sigaction action = {0};
  action.sa_handler = tick;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, NULL);
  often = setitimer(ITIMER_REAL, &interval, NULL) == 0;
  for (int i = 0; i < 8; i++) {
    start(come_and_go);
    start(wait_for_ever);
  }
}

// A filter that has an answer of its own for one call, and lets all others through.
static int filter(const char *number, const char *answer) {
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)atoi(number), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, (unsigned)strtoul(answer, NULL, 10)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0;
}

int main(int argc, char **argv) {
  const char *kind = argc > 1 ? argv[1] : "";
  sigset_t blocked;
  umask(077);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGUSR2, SIG_IGN);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  sigaddset(&blocked, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &blocked, NULL);
  kill(getpid(), SIGRTMIN);
  if (chdir("/usr") != 0 || open("/", O_RDONLY) < 0)
    return 2;
  if (argc > 3 && filter(argv[2], argv[3]) != 0)
    return 5;
  if (strcmp(kind, "busy") == 0) {
    busy();
  } else if (strncmp(kind, "farewell", 8) == 0 || strcmp(kind, "stubborn") == 0) {
    sigset_t term;
    signal(SIGTERM, kind[0] == 'f' ? say_farewell : tick);
    start(come_and_go);
    // Where the first thread does not hear of it, another one does.
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    start(wait_for_ever);
    if (strcmp(kind, "farewell-thread") == 0)
      pthread_sigmask(SIG_BLOCK, &term, NULL);
  } else if (strcmp(kind, "leaderless") == 0) {
    start(go_on);
    pthread_exit(NULL);
  } else if (strcmp(kind, "vfork") == 0) {
    puts("ready");
    fflush(stdout);
    if (vfork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      pause();
      _exit(0);
    }
  } else if (strcmp(kind, "sleeper") == 0) {
    // A call that the kernel restarts with the time that is left.
    struct timespec begun, ended, pause = {1, 0};
    pthread_mutex_lock(&starting);
    start(go_on);
    pthread_mutex_unlock(&starting);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    if (clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL) != 0)
      return 4;
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("slept %d\n", (int)(ended.tv_sec - begun.tv_sec) < 3);
    fflush(stdout);
    wait_for_ever(NULL);
  }
  go_on(NULL);
  return 0;
}
