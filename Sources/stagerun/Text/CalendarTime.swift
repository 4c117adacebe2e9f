// Seconds since 1970 as RFC 3339 in UTC, without a calendar library.

/// `2024-05-01T12:00:00Z`, or with nanoseconds when there are any (trailing zeros left out).
func calendarText(seconds: Int64, nanoseconds: UInt32 = 0) -> String {
    func padded(_ number: Int64, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    let secondOfDay = ((seconds % 86400) + 86400) % 86400
    let (year, month, day) = civilDate(daysSince1970: (seconds - secondOfDay) / 86400)
    var fraction = ""
    if nanoseconds > 0 {
        fraction = padded(Int64(nanoseconds), 9)
        while fraction.hasSuffix("0") { fraction.removeLast() }
        fraction = "." + fraction
    }
    return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T\(padded(secondOfDay / 3600, 2)):"
        + "\(padded(secondOfDay / 60 % 60, 2)):\(padded(secondOfDay % 60, 2))\(fraction)Z"
}

/// The Gregorian date of a day. Years are counted from March, so that the leap day comes last and drops out of the sums.
private func civilDate(daysSince1970: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let days = daysSince1970 + 719_468
    let era = (days >= 0 ? days : days - 146_096) / 146_097
    let dayOfEra = days - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
}
