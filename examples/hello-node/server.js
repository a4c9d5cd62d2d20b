// A counter in memory. With `sleep = "freeze"` it survives sleep, although nothing is written to disk.
"use strict";
const http = require("node:http");

const started = Date.now();
let counter = 0;

const server = http.createServer((request, response) => {
  if (request.url === "/health") {
    response.writeHead(200, { "Content-Type": "text/plain" });
    response.end("ok\n");
    return;
  }
  counter += 1;
  response.writeHead(200, { "Content-Type": "application/json" });
  response.end(JSON.stringify({ hello: process.env.INSULA_INSTANCE, counter, pid: process.pid, started }) + "\n");
});

server.listen(Number(process.env.PORT), "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
