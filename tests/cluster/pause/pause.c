/* The first process of a PID namespace: it reaps whatever is orphaned there and ends when told to.
 * It is the first process of each pod's sandbox, and of the whole cluster, where its end ends all. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int number) {
  (void)number;
  _exit(0);
}

static void reap(int number) {
  (void)number;
  while (waitpid(-1, 0, WNOHANG) > 0) {
  }
}

int main(void) {
  signal(SIGINT, end);
  signal(SIGTERM, end);
  signal(SIGCHLD, reap);
  reap(0); /* what ended before the handler stood */
  for (;;) {
    pause();
  }
}
