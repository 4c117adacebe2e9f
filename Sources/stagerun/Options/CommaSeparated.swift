// One record of comma-separated values as docker reads it: fields may be quoted, a quote inside is doubled.

/// The fields of `text`. Blanks are kept; a quote must open and close a whole field.
func commaSeparatedFields(_ text: String) throws(UsageError) -> [String] {
    var fields: [String] = []
    var rest = Array(text.unicodeScalars)[...]
    while true {
        var field = String.UnicodeScalarView()
        if rest.first == "\"" {
            rest = rest.dropFirst()
            while true {
                guard let scalar = rest.popFirst() else { throw UsageError("\(text): a quote is not closed") }
                if scalar != "\"" {
                    field.append(scalar)
                } else if rest.first == "\"" {
                    field.append(rest.removeFirst())
                } else {
                    break
                }
            }
            if let next = rest.first, next != "," {
                throw UsageError("\(text): a quoted field is followed by \"\(next)\"; a comma belongs there")
            }
        } else {
            while let scalar = rest.first, scalar != "," {
                if scalar == "\"" {
                    throw UsageError(
                        "\(text): a quote inside a field; quote the whole field and double the quote in it")
                }
                field.append(scalar)
                rest = rest.dropFirst()
            }
        }
        fields.append(String(field))
        if rest.popFirst() == nil { return fields }
    }
}
