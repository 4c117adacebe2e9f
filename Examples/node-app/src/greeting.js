'use strict';

exports.greeting = (name) => `Hello, ${name || 'world'}, from Node.`;
