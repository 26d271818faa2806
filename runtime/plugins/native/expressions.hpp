// Postfix integer expressions of plugins.txt: "C,32,cdiv" is cdiv(C, 32). The C++ twin of runtime/plugins/expressions.py.
//
// Names are resolved and the stack is followed when the text is parsed, so that evaluating cannot run out of operands and
// needs no heap. What the operands are is the caller's choice: integers here, symbols of TensorRT in plugin.cpp.

#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace edgesmith {

constexpr std::size_t kMaxNames = 32;  // symbols and attributes of one op; the largest op has a dozen
constexpr std::size_t kMaxDepth = 16;  // operands that wait on the stack

enum class Operator : std::uint8_t { kNumber, kName, kSum, kSub, kProd, kFloorDiv, kCeilDiv, kMin, kMax, kEqual, kLess };

struct Token {
    Operator what;
    std::int64_t value;  // the number, or the index of the name; 0 for an operator
};

class Expression {
public:
    Expression() = default;

    // Throws std::invalid_argument in words: a token that is no number, operator or one of `names`, a stack that runs dry
    // or keeps more than one value.
    Expression(std::string_view text, std::vector<std::string> const& names) : text_(text) {
        std::size_t depth = 0;
        for (std::size_t start = 0; start <= text.size();) {
            auto const stop = std::min(text.find(',', start), text.size());
            Token const token = read(text.substr(start, stop - start), names);
            tokens_.push_back(token);
            if (token.what == Operator::kNumber || token.what == Operator::kName) {
                if (++depth > kMaxDepth) throw std::invalid_argument("'" + text_ + "' needs too many operands at a time");
            } else {
                if (depth < 2) throw std::invalid_argument("'" + text_ + "' runs out of operands");
                --depth;
            }
            start = stop + 1;
        }
        if (depth != 1) throw std::invalid_argument("'" + text_ + "' leaves " + std::to_string(depth) + " values, not 1");
    }

    std::string const& text() const { return text_; }

    // The index of the name when the expression is a name and nothing else.
    std::optional<std::size_t> bareName() const {
        if (tokens_.size() != 1 || tokens_[0].what != Operator::kName) return {};
        return static_cast<std::size_t>(tokens_[0].value);
    }

    // `algebra` has a type Value and number(n), name(index), apply(operator, left, right), which may throw.
    template <class Algebra>
    typename Algebra::Value value(Algebra const& algebra) const {
        std::array<typename Algebra::Value, kMaxDepth + 1> stack{};
        std::size_t depth = 0;
        for (Token const& token : tokens_) {
            switch (token.what) {
            case Operator::kNumber: stack[depth++] = algebra.number(token.value); break;
            case Operator::kName: stack[depth++] = algebra.name(static_cast<std::size_t>(token.value)); break;
            default:
                --depth;
                stack[depth - 1] = algebra.apply(token.what, stack[depth - 1], stack[depth]);
            }
        }
        return stack[0];
    }

private:
    static Token read(std::string_view word, std::vector<std::string> const& names) {
        static constexpr std::array<std::pair<std::string_view, Operator>, 9> kOperators{{{"+", Operator::kSum},
            {"-", Operator::kSub}, {"*", Operator::kProd}, {"//", Operator::kFloorDiv}, {"cdiv", Operator::kCeilDiv},
            {"min", Operator::kMin}, {"max", Operator::kMax}, {"==", Operator::kEqual}, {"<", Operator::kLess}}};
        for (auto const& [text, what] : kOperators)
            if (word == text) return {what, 0};
        auto const name = std::find(names.begin(), names.end(), word);
        if (name != names.end()) return {Operator::kName, name - names.begin()};
        std::int64_t number = 0;
        auto const [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
        if (error != std::errc{} || end != word.data() + word.size())
            throw std::invalid_argument("'" + std::string(word) + "' is no number, operator, symbol or attribute");
        return {Operator::kNumber, number};
    }

    std::string text_;
    std::vector<Token> tokens_;
};

// Plain numbers, with Python's rounding: // rounds down and cdiv rounds up, for negative operands too.
struct Integers {
    using Value = std::int64_t;
    std::array<Value, kMaxNames> const& names;

    Value number(std::int64_t n) const { return n; }
    Value name(std::size_t index) const { return names[index]; }
    Value apply(Operator what, Value left, Value right) const {
        Value result = 0;
        bool overflow = false;
        switch (what) {
        case Operator::kSum: overflow = __builtin_add_overflow(left, right, &result); break;
        case Operator::kSub: overflow = __builtin_sub_overflow(left, right, &result); break;
        case Operator::kProd: overflow = __builtin_mul_overflow(left, right, &result); break;
        case Operator::kMin: return std::min(left, right);
        case Operator::kMax: return std::max(left, right);
        case Operator::kEqual: return left == right;
        case Operator::kLess: return left < right;
        default: {
            if (right == 0) throw std::domain_error("division by zero");
            if (right == -1) {  // the one quotient that does not fit is -2^63 / -1
                overflow = __builtin_sub_overflow(Value{0}, left, &result);
                break;
            }
            Value const remainder = left % right;
            bool const down = remainder != 0 && (remainder < 0) != (right < 0);  // C++ rounds to zero
            bool const up = remainder != 0 && !down;
            result = left / right;
            result += what == Operator::kFloorDiv ? -Value{down} : Value{up};
        }
        }
        if (overflow) throw std::overflow_error("a size does not fit 64 bits");
        return result;
    }
};

}  // namespace edgesmith
