// Reads plugins.txt, which exporter/plugins/pack/pack.py (lines_of) writes. One op:
//
//     op GGeMPool
//     input x T B N C                       name, type, sizes: names, numbers or postfix expressions
//     output y T B C
//     attribute eps float 1e-06             name, int or float, default or -
//     kernel ENTRY FILE float16 128 512     type of T, threads, bytes of shared memory
//     when 1                                which sizes and attributes it is for
//     grid C,32,cdiv B 1
//     scalars N C G eps interleaved         int32 arguments between inputs and outputs
//     end
//
// A kernel reads as many arguments as its PTX declares, whatever it is given: that count is checked here.

#include "table.hpp"

#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>

namespace edgesmith {
namespace {

using Words = std::vector<std::string>;

struct Line {
    std::size_t number;
    Words words;
};

constexpr std::uint32_t kMaxThreads = 1024;
constexpr std::uint32_t kMaxSharedBytes = 48 * 1024;  // more needs an attribute of the function, which is not set

[[noreturn]] void refuse(Line const& line, std::string const& why) {
    throw std::runtime_error("plugins.txt, line " + std::to_string(line.number) + ": " + why);
}

void wants(Line const& line, std::size_t atLeast, std::size_t atMost = std::numeric_limits<std::size_t>::max()) {
    if (line.words.size() < atLeast || line.words.size() > atMost)
        refuse(line, "'" + line.words[0] + "' has " + std::to_string(line.words.size() - 1) + " words after it");
}

Expression expression(Line const& line, std::string const& text, OpTable const& op) {
    try {
        return Expression(text, op.names);
    } catch (std::invalid_argument const& error) {
        refuse(line, error.what());
    }
}

Type typeOf(Line const& line, std::string const& word) {
    for (Type type : {Type::kT, Type::kFloat32, Type::kFloat16, Type::kBFloat16, Type::kInt32})
        if (word == nameOf(type)) return type;
    refuse(line, "'" + word + "' is no type");
}

bool isName(std::string const& word) {
    auto const letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
    auto const rest = [&](char c) { return letter(c) || (c >= '0' && c <= '9'); };
    return !word.empty() && letter(word[0]) && std::all_of(word.begin(), word.end(), rest);
}

template <class Number>
Number number(Line const& line, std::string const& word, Number least, Number most) {
    Number value{};
    auto const [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end != word.data() + word.size() || !(value >= least && value <= most))
        refuse(line, "'" + word + "' is no number from " + std::to_string(least) + " to " + std::to_string(most));
    return value;
}

Attribute attribute(Line const& line) {
    wants(line, 4, 4);
    auto const& words = line.words;
    if (words[2] != "int" && words[2] != "float") refuse(line, "'" + words[2] + "' is neither int nor float");
    if (!isName(words[1])) refuse(line, "'" + words[1] + "' is no name");
    Attribute made{words[1], words[2] == "float", {}};
    if (words[3] == "-") return made;
    if (made.isFloat) {
        // as Python does it: a double first, then rounded to float32
        double const most = std::numeric_limits<float>::max();
        auto const value = static_cast<float>(number<double>(line, words[3], -most, most));
        made.fallback.emplace();
        std::memcpy(&*made.fallback, &value, sizeof value);
    } else {
        using Limits = std::numeric_limits<std::int32_t>;
        made.fallback = number<std::int32_t>(line, words[3], Limits::min(), Limits::max());
    }
    return made;
}

// Attributes come first, then what stands alone as a size of an input: the order in which runtime/plugins/schema.py binds.
void collectNames(OpTable& op, std::vector<Line> const& lines) {
    auto const known = [&](std::string const& name) {
        return std::find(op.names.begin(), op.names.end(), name) != op.names.end();
    };
    for (Line const& line : lines) {
        if (line.words[0] != "attribute") continue;
        op.attributes.push_back(attribute(line));
        if (known(op.attributes.back().name)) refuse(line, "'" + line.words[1] + "' is there twice");
        op.names.push_back(op.attributes.back().name);
    }
    for (Line const& line : lines) {
        if (line.words[0] != "input") continue;
        for (std::size_t i = 3; i < line.words.size(); ++i)
            if (isName(line.words[i]) && !known(line.words[i])) op.names.push_back(line.words[i]);
        if (op.names.size() > kMaxNames) refuse(line, "more than " + std::to_string(kMaxNames) + " names in one op");
    }
}

Tensor tensor(Line const& line, OpTable const& op) {
    wants(line, 3, 3 + kMaxRank);
    Tensor made{line.words[1], typeOf(line, line.words[2]), {}};
    for (std::size_t i = 3; i < line.words.size(); ++i) made.shape.push_back(expression(line, line.words[i], op));
    return made;
}

// How many parameters the entry of a PTX text declares; -1 when it has no such entry.
int parameters(std::string const& ptx, std::string const& entry) {
    std::string const head = ".entry " + entry;
    auto const start = ptx.find(head);
    auto const open = start == std::string::npos ? start : ptx.find_first_not_of(" \t\n", start + head.size());
    auto const close = open == std::string::npos || ptx[open] != '(' ? std::string::npos : ptx.find(')', open);
    if (close == std::string::npos) return -1;
    int count = 0;
    for (auto at = ptx.find(".param ", open); at < close; at = ptx.find(".param ", at + 1)) ++count;
    return count;
}

Launch kernel(Line const& line, std::string const& folder) {
    wants(line, 6, 6);
    auto const& words = line.words;
    Launch made;
    made.entry = words[1];
    made.type = typeOf(line, words[3]);
    if (made.type == Type::kT) refuse(line, "a kernel is for one type, not for T");
    made.threads = number<std::uint32_t>(line, words[4], 1, kMaxThreads);
    made.sharedBytes = number<std::uint32_t>(line, words[5], 0, kMaxSharedBytes);
    if (words[2].find('/') != std::string::npos) refuse(line, "'" + words[2] + "' is not in the folder of plugins.txt");
    try {
        made.ptx = readFile(folder + "/" + words[2]);
    } catch (std::runtime_error const& error) {
        refuse(line, error.what());
    }
    return made;
}

// The lines after a kernel: when, grid, scalars, in this order.
void complete(Launch& launch, std::vector<Line> const& lines, std::size_t at, OpTable const& op) {
    for (std::size_t i = 0; i < 3; ++i)
        if (at + i >= lines.size() || lines[at + i].words[0] != std::array{"when", "grid", "scalars"}[i])
            refuse(lines[std::min(at + i, lines.size() - 1)], "when, grid and scalars follow a kernel, in this order");
    wants(lines[at], 2, 2);
    launch.when = expression(lines[at], lines[at].words[1], op);
    wants(lines[at + 1], 4, 4);
    for (std::size_t i = 0; i < 3; ++i) launch.grid[i] = expression(lines[at + 1], lines[at + 1].words[1 + i], op);
    auto const& scalars = lines[at + 2];
    for (std::size_t i = 1; i < scalars.words.size(); ++i)
        launch.scalars.push_back(expression(scalars, scalars.words[i], op));
    auto const arguments = op.inputs.size() + launch.scalars.size() + op.outputs.size();
    if (arguments > kMaxArguments) refuse(scalars, "more than " + std::to_string(kMaxArguments) + " arguments");
    int const declared = parameters(launch.ptx, launch.entry);
    if (declared < 0) refuse(lines[at - 1], "the PTX has no entry " + launch.entry);
    if (static_cast<std::size_t>(declared) != arguments)
        refuse(scalars, launch.entry + " takes " + std::to_string(declared) + " arguments, inputs, scalars and outputs are " +
                            std::to_string(arguments));
}

// FNV-1a, 64 bits: tells tables apart, and nothing hangs on it being hard to forge.
std::string hashOf(std::vector<Line> const& lines) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (Line const& line : lines)
        for (std::string const& word : line.words)
            for (char c : word + " ") hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    std::ostringstream text;
    text << std::hex << hash;
    return text.str();
}

OpTable oneOp(std::vector<Line> const& lines, std::string const& folder) {
    Line const& first = lines.front();
    wants(first, 2, 2);
    OpTable op;
    op.name = first.words[1];
    op.hash = hashOf(lines);
    collectNames(op, lines);
    for (std::size_t i = 1; i < lines.size(); ++i) {
        std::string const& word = lines[i].words[0];
        if (word == "input") {
            op.inputs.push_back(tensor(lines[i], op));
        } else if (word == "output") {
            op.outputs.push_back(tensor(lines[i], op));
        } else if (word == "kernel") {
            op.launches.push_back(kernel(lines[i], folder));
            complete(op.launches.back(), lines, i + 1, op);
            i += 3;
        } else if (word != "attribute") {
            refuse(lines[i], "'" + word + "' is not expected here");
        }
    }
    if (op.inputs.empty() || op.outputs.empty() || op.launches.empty())
        refuse(first, op.name + " has " + std::to_string(op.inputs.size()) + " inputs, " +
                          std::to_string(op.outputs.size()) + " outputs and " + std::to_string(op.launches.size()) +
                          " kernels, each must be there");
    for (Tensor const& output : op.outputs)
        if (output.type == Type::kT && !op.deciding()) refuse(first, "no input of " + op.name + " decides what T is");
    return op;
}

}  // namespace

std::optional<std::size_t> OpTable::deciding() const {
    for (std::size_t i = 0; i < inputs.size(); ++i)
        if (inputs[i].type == Type::kT) return i;
    return {};
}

char const* nameOf(Type type) {
    switch (type) {
    case Type::kFloat32: return "float32";
    case Type::kFloat16: return "float16";
    case Type::kBFloat16: return "bfloat16";
    case Type::kInt32: return "int32";
    default: return "T";
    }
}

std::string readFile(std::string const& file) {
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    // peek: an empty file is read, but copying nothing counts as a failure
    if (stream && stream.peek() != std::ifstream::traits_type::eof()) text << stream.rdbuf();
    if (!stream.is_open() || stream.bad() || text.fail()) throw std::runtime_error("cannot read " + file);
    return text.str();
}

std::vector<OpTable> readTable(std::string const& text, std::string const& folder) {
    std::vector<OpTable> ops;
    std::vector<Line> lines;  // of the op that is being read
    std::istringstream stream(text);
    std::string written;
    std::size_t count = 0;
    while (std::getline(stream, written)) {
        Line line{++count, {}};
        std::istringstream split(written);
        for (std::string word; split >> word;) line.words.push_back(word);
        if (line.words.empty()) continue;
        if (lines.empty() && line.words[0] != "op") refuse(line, "'" + line.words[0] + "' stands outside an op");
        if (!lines.empty() && line.words[0] == "op") refuse(line, "an op begins before " + lines[0].words[1] + " ends");
        if (line.words[0] != "end") {
            wants(line, line.words[0] == "scalars" ? 1 : 2);
            lines.push_back(line);
            continue;
        }
        wants(line, 1, 1);
        ops.push_back(oneOp(lines, folder));
        for (std::size_t i = 0; i + 1 < ops.size(); ++i)
            if (ops[i].name == ops.back().name) refuse(lines[0], ops[i].name + " is there twice");
        lines.clear();
    }
    if (!lines.empty()) refuse(lines.back(), lines[0].words[1] + " has no end");
    if (ops.empty()) throw std::runtime_error("plugins.txt has no ops");
    return ops;
}

}  // namespace edgesmith
