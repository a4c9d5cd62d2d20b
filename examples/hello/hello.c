#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nhello from c\n";

/* Reads up to the blank line that ends a request head. */
static void read_head(int client) {
    char head[8192];
    size_t used = 0;
    ssize_t got;
    while (used < sizeof head - 1 && (got = read(client, head + used, sizeof head - 1 - used)) > 0) {
        used += (size_t)got;
        head[used] = '\0';
        if (strstr(head, "\r\n\r\n")) return;
    }
}

int main(void) {
    const char *port = getenv("PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    if (!port || listener < 0) return 2;
    address.sin_port = htons((unsigned short)atoi(port));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        read_head(client);
        if (write(client, answer, sizeof answer - 1) < 0) perror("write");
        close(client);
    }
}
