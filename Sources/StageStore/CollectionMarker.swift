// What stays in a collection: all that roots lead to by the census, and by what came between the census and the collection.

import StageHash

/// Marks what stays: all that the census knows, and what came since.
struct CollectionMarker {
    let store: Store
    var census: Census
    private(set) var seen: [Bool]

    init(store: Store, census: Census) {
        self.store = store
        self.census = census
        seen = census.graph.noMarks
    }

    mutating func mark(_ roots: Census.Roots) { census.graph.mark(roots.vertices, in: &seen) { _ in } }

    /// Marks what contents lead to that came since the census, whether anything leads to them or not: who finds a
    /// directory relies on all beneath it.
    mutating func markNewcomers(_ transaction: borrowing Database.WriteTransaction) throws(StoreError) {
        var newcomers: [(digest: Digest, entry: ContentEntry)] = []
        let graph = census.graph
        try transaction.visit(.contents) { key, value throws(StoreError) in
            guard let digest = Digest(bytes: key), graph.number(of: digest) == nil, let entry = ContentEntry(value)
            else { return }
            newcomers.append((digest, entry))
        }
        var links: [Link] = []
        for (digest, entry) in newcomers {
            if case .chunked = entry { links.append(.content(digest)) }
            if entry.size < DirectoryObject.leastSize { continue }
            if try store.isDirectory(digest), try !store.isLookalike(digest) { links.append(.directory(digest)) }
        }
        try mark(links)
    }

    /// Marks what links lead to that the census may know in part.
    mutating func mark(_ links: [Link]) throws(StoreError) {
        var stack = links
        var visited: Set<Link> = []
        while let link = stack.popLast() {
            guard visited.insert(link).inserted else { continue }
            if let vertex = census.graph.vertex(of: link) {
                if seen[Int(vertex)] { continue }
                seen[Int(vertex)] = true
                if let number = census.graph.number(of: link.digest) { seen[Int(number)] = true }
            }
            stack += try store.directLinks(of: link)
        }
    }
}

extension Store {
    /// What a link leads to directly, by reading it.
    func directLinks(of link: Link) throws(StoreError) -> [Link] {
        let digest = link.digest
        var links: [Link] = []
        if let entry = try entry(of: digest) { links = try self.links(of: entry) }
        switch link {
        case .content: break
        case .directory: links += try self.links(ofDirectory: digest)
        case .list:
            guard let more = linkReader?.links(inList: try read(digest)) else {
                throw .corrupt("the list \(digest) does not decode")
            }
            links += more
        }
        return links
    }
}
