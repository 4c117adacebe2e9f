// Where the state lives, from what the person said and where they are.

/// `--root`, else STAGERUN_ROOT, else $XDG_DATA_HOME/stagerun, else ~/.local/share/stagerun; /var/lib/stagerun for root.
///
/// A variable that is empty counts as not set; XDG_DATA_HOME must be absolute, as its specification demands.
func stateDirectory(
    option: String?, isRoot: Bool, environment: (String) -> String?
) throws(UsageError) -> String {
    if let option {
        guard !option.isEmpty else { throw UsageError("--root is empty; give a directory") }
        return option
    }
    func variable(_ name: String) -> String? { environment(name).flatMap { $0.isEmpty ? nil : $0 } }
    if let root = variable("STAGERUN_ROOT") { return root }
    if isRoot { return "/var/lib/stagerun" }
    if let data = variable("XDG_DATA_HOME"), data.hasPrefix("/") { return joined(data, "stagerun") }
    guard let home = variable("HOME") else {
        throw UsageError("HOME is not set, so there is no place for the state; give --root DIR or set STAGERUN_ROOT")
    }
    return joined(home, ".local/share/stagerun")
}

private func joined(_ directory: String, _ name: String) -> String {
    directory.hasSuffix("/") ? directory + name : directory + "/" + name
}
