// Docker's flags take `=true` and `=false`; ArgumentParser's take no value.

/// Switches that stand alone, in any subcommand.
private let switches: Set<String> = [
    "--no-cache", "--quiet", "--rm", "--interactive", "--tty", "--force", "--no-trunc", "--digests", "--json", "--all",
]

/// `--no-cache=true` as `--no-cache`, and without `--no-cache=false`. What follows the image of `run` is left alone: it
/// belongs to the command in the container.
func normalized(_ arguments: [String]) -> [String] {
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

/// Whether `run` takes this argument as its image: it is no option, and no option's value.
private func isOperand(_ index: Int, _ arguments: [String]) -> Bool {
    let valued: Set<String> = [
        "-e", "--env", "-w", "--workdir", "-u", "--user", "-v", "--volume", "--entrypoint", "--hostname", "-h",
        "--root",
    ]
    return !arguments[index].hasPrefix("-") && !valued.contains(arguments[index - 1])
}
