// What the tests of this room trace: a program with everything that a new one must not inherit. Its first argument
// says which kind it is. It says `ready` when it is, reads a line, and says `went on`.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void nothing(int signal) { (void)signal; }

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

static void *go_on(void *unused) {
  char line[64];
  pthread_mutex_lock(&starting);
  pthread_mutex_unlock(&starting);
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) == NULL)
    clearerr(stdin);
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
  struct itimerval often = {{0, 500}, {0, 500}};
  struct sigaction action = {0};
  action.sa_handler = nothing;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &often, NULL);
  for (int i = 0; i < 8; i++) {
    start(come_and_go);
    start(wait_for_ever);
  }
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
  if (strcmp(kind, "busy") == 0) {
    busy();
  } else if (strcmp(kind, "leaderless") == 0) {
    start(go_on);
    pthread_exit(NULL);
  } else if (strcmp(kind, "vfork") == 0) {
    puts("ready");
    fflush(stdout);
    if (vfork() == 0) {
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
