import StageContext
import StageSystem

// What a directory is called as a build context, without keeping anything of it.
let arguments = Array(CommandLine.arguments.dropFirst())
guard let path = arguments.first else {
    print("usage: context-example CONTEXT [INDEX]")
    throw ContextError.missing(path: "")
}
let pool = BlockingPool(threads: 4)
let ignored = try IgnoreRules.ignoreFile(context: path, dockerfile: nil)
let rules = try ignored.map { try IgnoreRules(text: $0.text, file: $0.path) } ?? .none
let scan = try await ContextScanner(sink: ContextNames(), pool: pool).scan(
    ContextRequest(path: path, rules: rules, indexPath: arguments.dropFirst().first))
print(scan.tree.identity, "\(scan.files) files, \(scan.read) read, \(scan.unchanged) unchanged")
