import java.nio.file.Files;
import java.nio.file.Path;
import org.antlr.v4.runtime.BaseErrorListener;
import org.antlr.v4.runtime.CharStreams;
import org.antlr.v4.runtime.CommonTokenStream;
import org.antlr.v4.runtime.RecognitionException;
import org.antlr.v4.runtime.Recognizer;
import org.elasticsearch.xpack.esql.parser.EsqlBaseLexer;
import org.elasticsearch.xpack.esql.parser.EsqlBaseParser;

/** Parses the ES|QL query of each file that its arguments name. It prints syntax errors and exits with 1 if there are any. */
public final class EsqlCheck extends BaseErrorListener {
    private final String file;
    private boolean failed;

    private EsqlCheck(String file) {
        this.file = file;
    }

    @Override
    public void syntaxError(Recognizer<?, ?> recognizer, Object symbol, int line, int column, String message, RecognitionException e) {
        failed = true;
        System.out.println(file + ":" + line + ":" + column + ": " + message);
    }

    public static void main(String[] files) throws Exception {
        boolean failed = false;
        for (String file : files) {
            EsqlCheck listener = new EsqlCheck(file);
            EsqlBaseLexer lexer = new EsqlBaseLexer(CharStreams.fromString(Files.readString(Path.of(file))));
            lexer.removeErrorListeners();
            lexer.addErrorListener(listener);
            EsqlBaseParser parser = new EsqlBaseParser(new CommonTokenStream(lexer));
            parser.removeErrorListeners();
            parser.addErrorListener(listener);
            parser.singleStatement();
            failed |= listener.failed;
        }
        System.exit(failed ? 1 : 0);
    }
}
