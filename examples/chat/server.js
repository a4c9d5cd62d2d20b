// A chat room over WebSocket (RFC 6455), with nothing but Node's own modules.
// Every text message goes to everyone in the room, the sender included. GET /health and GET / answer over HTTP.
"use strict";
const crypto = require("node:crypto");
const http = require("node:http");

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, section 1.3
const TEXT = 1, CLOSE = 8, PING = 9, PONG = 10;
const LONGEST = 64 * 1024;
const room = new Set();

function frame(opcode, payload) {
  const head = payload.length < 126
    ? Buffer.from([0x80 | opcode, payload.length])
    : Buffer.from([0x80 | opcode, 126, payload.length >> 8, payload.length & 0xff]);
  return Buffer.concat([head, payload]);
}

// Takes one whole masked frame from the front of `buffer`; null when more bytes are needed.
function take(buffer) {
  if (buffer.length < 2) return null;
  let length = buffer[1] & 0x7f, at = 2;
  if (length === 126) {
    if (buffer.length < 4) return null;
    length = buffer.readUInt16BE(2);
    at = 4;
  }
  if (length > LONGEST || (buffer[1] & 0x7f) === 127 || !(buffer[1] & 0x80)) throw new Error("bad frame");
  if (buffer.length < at + 4 + length) return null;
  const mask = buffer.subarray(at, at + 4);
  const payload = Buffer.from(buffer.subarray(at + 4, at + 4 + length));
  for (let i = 0; i < payload.length; i += 1) payload[i] ^= mask[i % 4];
  return { opcode: buffer[0] & 0x0f, payload, rest: buffer.subarray(at + 4 + length) };
}

function handle(socket, { opcode, payload }) {
  if (opcode === TEXT) for (const other of room) other.write(frame(TEXT, payload));
  else if (opcode === PING) socket.write(frame(PONG, payload));
  else if (opcode === CLOSE) socket.end(frame(CLOSE, payload));
}

const server = http.createServer((request, response) => {
  response.writeHead(200, { "Content-Type": "application/json" });
  response.end(JSON.stringify({ ok: true, people: room.size }) + "\n");
});

server.on("upgrade", (request, socket, head) => {
  const key = request.headers["sec-websocket-key"];
  if (!key) return socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  const accept = crypto.createHash("sha1").update(key + GUID).digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  room.add(socket);
  let buffer = Buffer.alloc(0);
  const receive = (bytes) => {
    buffer = Buffer.concat([buffer, bytes]);
    try {
      for (let next = take(buffer); next; next = take(buffer)) {
        buffer = next.rest;
        handle(socket, next);
      }
    } catch {
      socket.destroy();
    }
  };
  socket.on("data", receive);
  socket.on("end", () => socket.end()); // a client that just goes away must not keep the room awake
  socket.on("close", () => room.delete(socket));
  socket.on("error", () => socket.destroy());
  if (head.length) receive(head);
});

server.listen(Number(process.env.PORT), "127.0.0.1");
