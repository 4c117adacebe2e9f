// Builds an image inside a program: `embed-example STORE CONTEXT ARCHIVE`.

import StageEngine
import StageRun

let arguments = Array(CommandLine.arguments.dropFirst())
guard arguments.count == 3 else {
    print("usage: embed-example STORE CONTEXT ARCHIVE")
    throw StageRunError.failed("three arguments are needed", advice: nil)
}
let root = try StageRoot(path: arguments[0], jobs: 4)
var request = BuildRequest(contextPath: arguments[1])
request.outputs = [.oci(.path(arguments[2]), asTar: true)]
let report = try await root.build(request) { event in
    if case .stepFinished(let step, let state, _, _, let reason) = event {
        print("step \(step): \(state.rawValue), \(reason)")
    }
}
try await root.close()
print(report.imageID)
