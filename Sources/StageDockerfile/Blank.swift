// White space as the Dockerfile language counts it: Unicode's, at the ends of lines and between words.

enum Blank {
    /// Whether the scalar is white space.
    static func contains(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09...0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }

    /// White space in one byte.
    static func isASCII(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    /// How many bytes of UTF-8 the white space at `index` takes; 0 when there is none.
    static func length(_ bytes: [UInt8], at index: Int, end: Int) -> Int {
        let byte = bytes[index]
        if byte < 0x80 { return isASCII(byte) ? 1 : 0 }
        func next(_ offset: Int) -> UInt8 { index + offset < end ? bytes[index + offset] : 0 }
        switch byte {
        case 0xC2: return next(1) == 0x85 || next(1) == 0xA0 ? 2 : 0
        case 0xE1: return next(1) == 0x9A && next(2) == 0x80 ? 3 : 0
        case 0xE2:
            if next(1) == 0x80 {
                return (0x80...0x8A).contains(next(2)) || [0xA8, 0xA9, 0xAF].contains(next(2)) ? 3 : 0
            }
            return next(1) == 0x81 && next(2) == 0x9F ? 3 : 0
        case 0xE3: return next(1) == 0x80 && next(2) == 0x80 ? 3 : 0
        default: return 0
        }
    }

    /// The length of the white space that ends just before `index`.
    static func lengthBefore(_ bytes: [UInt8], _ index: Int, start: Int) -> Int {
        for size in 1...3 where index - size >= start {
            if length(bytes, at: index - size, end: index) == size { return size }
        }
        return 0
    }

    /// The part of `range` without white space at its ends.
    static func trimmed(_ bytes: [UInt8], _ range: Range<Int>) -> Range<Int> {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end {
            let length = length(bytes, at: start, end: end)
            if length == 0 { break }
            start += length
        }
        while end > start {
            let length = lengthBefore(bytes, end, start: start)
            if length == 0 { break }
            end -= length
        }
        return start..<end
    }

    /// The separators between words of instructions that split at blanks: fewer than Unicode's white space.
    static func separates(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0B || byte == 0x0C || byte == 0x0D
    }
}
