'use strict';

const http = require('http');
const { answer } = require('./routes');

const port = Number(process.env.PORT || 3000);
const server = http.createServer(answer);
server.listen(port, () => console.log(`listening on port ${port}`));
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => process.exit(0));
}
