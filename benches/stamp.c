/* The smallest program that says when it began: its first act is to look at the clock.
 *
 *   stamp       writes seconds since 1970, with microseconds, and ends
 *   stamp with PORT in its environment       writes them, then answers every request with them, for ever
 *
 * Linked statically, so that it is a root file system by itself, and so that the dynamic linker's work is nobody's.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    struct timespec t;
    char text[64], answer[160], request[4096];
    clock_gettime(CLOCK_REALTIME, &t);
    int n = snprintf(text, sizeof text, "%lld.%06ld\n", (long long)t.tv_sec, t.tv_nsec / 1000);
    if (write(1, text, n) != n) return 1;
    const char *port = getenv("PORT");
    if (!port) return 0;
    n = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", n, text);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 64) < 0) return 1;
    for (;;) {
        int client = accept(listener, 0, 0);
        if (client < 0) continue;
        /* A request of the benchmark comes in one piece; who says nothing gets no answer. */
        if (read(client, request, sizeof request) > 0 && write(client, answer, n) != n) return 1;
        close(client);
    }
}
