// `npm run build`: src to dist, by the development dependency that a production install leaves out.
'use strict';

const bundle = require('bundler');

const made = bundle('src/index.js', 'dist/index.js');
console.log(`dist/index.js: ${made.modules} modules, ${made.characters} characters`);
