// SPDX-License-Identifier: MIT
// POST /echo answers with the body, GET / says so, anything else is 404. Says its port.
const http = require('http');
const server = http.createServer((req, res) => {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk));
  req.on('error', () => {});
  req.on('end', () => {
    const found = req.method === 'POST' && req.url === '/echo';
    const usage = req.method === 'GET' && req.url.split('?')[0] === '/';
    const body = found ? Buffer.concat(chunks) : Buffer.from('POST /echo\n');
    res.writeHead(found || usage ? 200 : 404, { 'Content-Length': body.length });
    res.end(req.method === 'HEAD' ? undefined : body);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
