// Puts a CommonJS entry and the local modules that it needs into one file.
'use strict';

const fs = require('fs');
const path = require('path');

module.exports = function bundle(entry, output) {
  const numbers = new Map();
  const bodies = [];

  // Returns the module's number; a module that was met before keeps the one it has.
  function add(file) {
    const known = numbers.get(file);
    if (known !== undefined) return known;
    const number = bodies.length;
    numbers.set(file, number);
    bodies.push('');
    const text = fs.readFileSync(file, 'utf8');
    bodies[number] = text.replace(/require\('(\.[^']*)'\)/g, (_, wanted) => {
      const target = path.resolve(path.dirname(file), wanted);
      return `load(${add(target.endsWith('.js') ? target : `${target}.js`)})`;
    });
    return number;
  }

  const first = add(path.resolve(entry));
  const modules = bodies.map((body) => `(module, exports) => {\n${body}}`).join(',\n');
  const text = `'use strict';
const modules = [${modules}];
const loaded = [];
function load(number) {
  if (!loaded[number]) {
    loaded[number] = { exports: {} };
    modules[number](loaded[number], loaded[number].exports);
  }
  return loaded[number].exports;
}
load(${first});
`;
  fs.mkdirSync(path.dirname(output), { recursive: true });
  fs.writeFileSync(output, text);
  return { modules: bodies.length, characters: text.length };
};
