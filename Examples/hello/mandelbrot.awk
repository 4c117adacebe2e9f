# Draws the Mandelbrot set in characters, `width` by `height` of them.
BEGIN {
    shades = " .:-=+*%#@"
    for (row = 0; row < height; row++) {
        line = ""
        for (column = 0; column < width; column++) {
            cx = -2.1 + 2.9 * column / width
            cy = -1.15 + 2.3 * row / height
            x = y = 0
            for (i = 0; i < 900 && x * x + y * y < 4; i++) {
                t = x * x - y * y + cx
                y = 2 * x * y + cy
                x = t
            }
            line = line substr(shades, i == 900 ? 10 : 1 + i % 9, 1)
        }
        print line
    }
}
