'use strict';

const { greeting } = require('./greeting');

exports.answer = (request, response) => {
  const url = new URL(request.url, 'http://localhost');
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  if (url.pathname === '/healthz') {
    response.end('ok\n');
  } else if (url.pathname === '/') {
    response.end(`${greeting(url.searchParams.get('name'))}\n`);
  } else {
    response.statusCode = 404;
    response.end('not found\n');
  }
};
