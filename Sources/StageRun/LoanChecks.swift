// What a build was lent is looked at before it starts: a typing error should not wait for the command that needs the secret.

import Glibc
import StageEngine
import StageSystem

extension BuildFlow {
    func checkLoans() throws(StageRunError) {
        for (id, origin) in request.loans.secrets.sorted(by: { $0.key < $1.key }) {
            switch origin {
            case .value(let value): try check(id, size: value.bytes.count)
            case .file(let path):
                var info = stat()
                guard stat(path, &info) == 0 else {
                    throw .failed("the secret \(id): cannot read \(path): \(SystemError.last("stat").reason)")
                }
                guard info.st_mode & S_IFMT != S_IFDIR else {
                    throw .failed("the secret \(id): \(path) is a directory")
                }
                try check(id, size: Int(info.st_size))
            }
        }
        for (id, path) in request.loans.agents.sorted(by: { $0.key < $1.key }) {
            var info = stat()
            guard stat(path, &info) == 0 else {
                throw .failed("the SSH agent \(id): cannot reach \(path): \(SystemError.last("stat").reason)")
            }
            guard info.st_mode & S_IFMT == S_IFSOCK else {
                throw .failed(
                    "the SSH agent \(id): \(path) is not a socket",
                    advice: "give a key to an agent with ssh-add, and its socket to --ssh")
            }
        }
    }

    private func check(_ id: String, size: Int) throws(StageRunError) {
        guard size <= Loans.largestSecret else {
            throw .failed("the secret \(id) is larger than \(Loans.largestSecret / 1000) kB")
        }
    }
}
