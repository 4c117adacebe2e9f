// Docker's flags take `=true` and `=false`; ArgumentParser's take no value.

/// Switches that stand alone, in any subcommand.
private let switches: Set<String> = [
    "--no-cache", "--quiet", "--rm", "--interactive", "--tty", "--force", "--no-trunc", "--digests", "--json", "--all",
    "--dry-run", "--repair", "--verbose",
    "--check", "--sarif", "--strict",
]

/// `--no-cache=true` as `--no-cache`, and without `--no-cache=false`. What follows the image of `run` is left alone: it
/// belongs to the command in the container.
func normalized(_ given: [String]) -> [String] {
    let arguments = rootAfterCommand(given)
    var result: [String] = []
    for (index, argument) in arguments.enumerated() {
        if argument == "--" || (arguments.first == "run" && index > 0 && isOperand(index, arguments)) {
            return result + arguments[index...]
        }
        guard let equals = argument.firstIndex(of: "="), switches.contains(String(argument[..<equals])),
            let value = booleanValue(String(argument[argument.index(after: equals)...]))
        else {
            result.append(argument)
            continue
        }
        if value { result.append(String(argument[..<equals])) }
    }
    return result
}

/// `--root DIR` is an option of every subcommand; people also write it before the subcommand's name.
private func rootAfterCommand(_ arguments: [String]) -> [String] {
    guard let first = arguments.first else { return arguments }
    let count = first == "--root" ? 2 : first.hasPrefix("--root=") ? 1 : 0
    guard count > 0, arguments.count > count else { return arguments }
    return [arguments[count]] + arguments[..<count] + arguments[(count + 1)...]
}

/// Whether `run` takes this argument as its image: it is no option, and no option's value.
private func isOperand(_ index: Int, _ arguments: [String]) -> Bool {
    let valued: Set<String> = [
        "-e", "--env", "-w", "--workdir", "-u", "--user", "-v", "--volume", "--entrypoint", "--hostname", "-h",
        "--root",
    ]
    return !arguments[index].hasPrefix("-") && !valued.contains(arguments[index - 1])
}
